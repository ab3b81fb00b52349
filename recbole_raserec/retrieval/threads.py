"""Threads of a search: parts side by side, with one thread each, because products of small matrices gain little."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import faiss
import torch

from recbole_raserec.runtime.progress import Progress

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def side_by_side(work: Callable[[_Part], _Result], parts: Sequence[_Part], progress: Progress = iter) -> list[_Result]:
    """``work`` of each part, in their order, on as many threads as torch has. A single part may use all of them.

    Torch's number of threads is that of the process for a moment: a thread that uses torch for the first time during
    the search is left with one. An error or a signal waits for the parts that have begun, which write to shared arrays.
    """
    threads = torch.get_num_threads()
    if min(threads, len(parts)) < 2:
        return in_turn(work, parts, progress)
    pool = ThreadPoolExecutor(min(threads, len(parts)), initializer=_take_one_thread)
    try:
        running = [pool.submit(work, part) for part in parts]
        return [part.result() for part in progress(running)]
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        finally:
            torch.set_num_threads(threads)


def in_turn(work: Callable[[_Part], _Result], parts: Sequence[_Part], progress: Progress = iter) -> list[_Result]:
    """As :func:`side_by_side`, on the caller's thread."""
    return [work(part) for part in progress(parts)]


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS uses one thread inside the block."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _take_one_thread() -> None:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
