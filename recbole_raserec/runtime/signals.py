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


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """After the block SIGTERM has the handler that it had before. Ray sets its own when it is imported and started."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # None: it was not set from Python
            signal.signal(signal.SIGTERM, before)


@contextmanager
def held_back() -> Iterator[None]:
    """Inside the block SIGINT and SIGTERM wait for its end, if Python handles them.

    Their handlers raise. C++ that calls Python, as torch's writer calls a file, makes another error of that, or aborts.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main one only
        yield
        return
    came: list[int] = []
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
