"""SIGTERM ends a command as Ctrl-C does: what is being written is removed, and the last epoch is on the disk."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """The process got SIGTERM."""


@contextmanager
def stopping_at_sigterm(wanted: bool = True) -> Iterator[None]:
    """Inside the block SIGTERM raises Terminated. It changes nothing in another thread than the main one."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: Any) -> None:
    raise Terminated
