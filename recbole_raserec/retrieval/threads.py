"""Parts of a search side by side, with one thread each: products of small matrices gain little from more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import faiss
import torch

from recbole_raserec.runtime.progress import Progress

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def side_by_side(work: Callable[[_Part], _Result], parts: Sequence[_Part], progress: Progress = iter) -> list[_Result]:
    """``work`` of each part, in their order, on as many threads as torch has. A single part may use all of them."""
    threads = torch.get_num_threads()
    if min(threads, len(parts)) < 2:
        return [work(part) for part in progress(parts)]
    pool = ThreadPoolExecutor(min(threads, len(parts)), initializer=_one_thread)
    try:
        running = [pool.submit(work, part) for part in parts]
        return [part.result() for part in progress(running)]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # threads that torch has not seen yet begin with the last number that was set


def _one_thread() -> None:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
