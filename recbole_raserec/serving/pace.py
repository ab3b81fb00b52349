"""A limit on how many memories are added a minute, however many people add them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from recbole_raserec.serving.problems import Refusal

_ROUNDING = 1e-6  # of a memory, so that who waits as long as told is let in


class Pace:
    """Lets ``a_minute`` memories in a minute, and after a pause at most a minute's at once. 0 is any number.

    A request is taken while something is left, and what it takes too much is missing later.
    """

    def __init__(self, a_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock, self._lock = a_minute, clock, threading.Lock()
        self._left, self._seen = a_minute, clock()

    def take(self, memories: int) -> None:
        """Count ``memories``, or raise Refusal with the seconds until something is left."""
        if not self._most:
            return
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._seen) * self._most / 60)
            self._seen = now
            if self._left < min(1, self._most) - _ROUNDING:
                wait = math.ceil((min(1, self._most) - self._left) * 60 / self._most)
                problem = f"more than {self._most:g} memories a minute"
                raise Refusal(429, "body", None, problem, f"try again in {wait} seconds", retry_after=wait)
            self._left -= memories

    def give_back(self, memories: int) -> None:
        """Count no longer ``memories`` that were taken and then not added."""
        with self._lock:
            self._left += memories
