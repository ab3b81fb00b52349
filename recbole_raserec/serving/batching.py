"""Micro-batching: histories that wait at the same time are answered by one call of the recommender.

An answer does not depend on the others of its call, so this changes no answer. A request that is alone waits for
nobody. When the call before was for several, their clients are likely to ask again: then the thread waits as long as
requests keep coming, so that none has to wait for two calls.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from recbole_raserec.data.histories import Histories
from recbole_raserec.errors import RaSeRecError
from recbole_raserec.recommender import Recommender
from recbole_raserec.serving.answers import split
from recbole_raserec.serving.problems import Refusal

_LARGEST = 128  # histories of one call, unless one request has more
_PAUSE, _PATIENCE = 0.0005, 0.05  # seconds that an answer takes to its client and back, and that a call may wait
Answers = list[dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """The options of :meth:`Recommender.recommend`. Requests with the same ones can be answered together."""

    k: int = 10
    filter_seen: bool = True
    items: tuple[Any, ...] | None = None
    exclude: tuple[Any, ...] | None = None
    explain: bool = False
    on_unknown: str = "raise"


@dataclass(frozen=True, eq=False)
class Job:
    """The histories of one request."""

    given: Histories
    options: Options
    answers: Future[Answers] = field(default_factory=Future)


class Batcher:
    """Answers jobs in a thread of its own.

    Parameters
    ----------
    recommender : returns the recommender of the moment.
    together : answer jobs together, and not one by one.
    max_waiting : histories that may wait.
    observe : called with the number of histories of each call.
    """

    def __init__(
        self,
        recommender: Callable[[], Recommender],
        together: bool = True,
        max_waiting: int = 4096,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._recommender, self._together, self._max_waiting, self._observe = (
            recommender,
            together,
            max_waiting,
            observe,
        )
        self._jobs: deque[Job] = deque()
        self._waiting, self._before, self._closed = 0, 1, False  # histories that wait; those of the call before
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="recommend", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of histories that wait."""
        return self._waiting

    def submit(self, given: Histories, options: Options) -> Future[Answers]:
        """The answers to come. Refused with 503 if too many histories wait."""
        job = Job(given, options)
        with self._changed:
            if self._closed or (self._waiting and self._waiting + len(given) > self._max_waiting):
                raise Refusal(503, "histories", None, f"{self._waiting:,} others wait", "try again in a second")
            self._jobs.append(job)
            self._waiting += len(given)
            self._changed.notify()
        return job.answers

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._take():
            groups: dict[Options, list[Job]] = {}
            for job in jobs:
                if job.answers.set_running_or_notify_cancel():
                    groups.setdefault(job.options, []).append(job)
            for options, group in groups.items():
                self._answer(group, options)

    def _take(self) -> list[Job]:
        """Jobs of not too many histories, the oldest first; none after the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            self._gather()
            taken: list[Job] = []
            size = 0
            while self._jobs and (not taken or (self._together and size + len(self._jobs[0].given) <= _LARGEST)):
                taken.append(self._jobs.popleft())
                size += len(taken[-1].given)
            self._waiting -= size
            self._before = size
            return taken

    def _gather(self) -> None:
        """Wait until as many wait as the call before had, or no new ones come."""
        end, pause = time.monotonic() + _PATIENCE, _PAUSE * (5 + self._before)
        wanted = min(self._before, _LARGEST) if self._together else 0
        more = True
        while more and self._waiting < wanted and not self._closed and time.monotonic() < end:
            more = self._changed.wait_for(partial(self._more_than, self._waiting), pause)

    def _more_than(self, number: int) -> bool:
        return self._waiting > number or self._closed

    def _answer(self, group: list[Job], options: Options) -> None:
        try:
            found = self._recommend([job.given for job in group], options)
        except RaSeRecError as error:
            if len(group) == 1:
                group[0].answers.set_exception(error)
                return
            for job in group:  # so that one wrong history concerns its own request only
                self._answer([job], options)
        except BaseException as error:  # the thread must go on
            for job in group:
                job.answers.set_exception(error)
        else:
            for job in group:
                job.answers.set_result(found[: len(job.given)])
                found = found[len(job.given) :]

    def _recommend(self, given: list[Histories], options: Options) -> Answers:
        items = [history for one in given for history in one.items]
        owners = [owner for one in given for owner in one.owners]
        self._observe(len(items))
        frame = self._recommender().recommend(Histories(items, list(range(len(items))), owners), **vars(options))
        return split(frame, len(items))
