"""Parts of a search on several threads."""

from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest
import torch

from recbole_raserec.retrieval import index as index_module
from recbole_raserec.retrieval import memory as memory_module
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.threads import side_by_side


def threads_of_a_new_thread() -> int:
    """Torch's number of threads in a thread that has not used it yet."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_results_are_in_the_order_of_the_parts_and_each_part_has_one_thread(three_threads):
    meet = threading.Barrier(3)  # passed only if three parts run at once

    def work(part):
        meet.wait(timeout=60)
        return part, threading.get_ident(), torch.get_num_threads(), faiss.omp_get_max_threads()

    before = faiss.omp_get_max_threads()
    parts, idents, torchs, faisses = zip(*side_by_side(work, [5, 3, 4]))
    assert parts == (5, 3, 4) and len(set(idents)) == 3
    assert set(torchs) == set(faisses) == {1}
    assert (torch.get_num_threads(), threads_of_a_new_thread(), faiss.omp_get_max_threads()) == (3, 3, before)


def test_a_single_part_stays_on_the_thread_of_the_caller(three_threads):
    assert side_by_side(lambda part: threading.get_ident(), [0]) == [threading.get_ident()]


def test_an_error_ends_the_search_and_leaves_the_number_of_threads(three_threads):
    begun, failed = [], threading.Event()

    def work(part):
        begun.append(part)
        if part == 0:
            failed.set()
            raise ValueError("broken part")
        failed.wait(timeout=60)

    with pytest.raises(ValueError, match="broken part"):
        side_by_side(work, range(100_000))
    assert len(begun) < 100_000
    assert threads_of_a_new_thread() == 3


def test_progress_sees_every_part(three_threads):
    seen = []

    def progress(parts):
        for part in parts:
            seen.append(part)
            yield part

    assert side_by_side(abs, [-1, -2, -3, -4], progress) == [1, 2, 3, 4] and len(seen) == 4


@pytest.mark.parametrize("factory", ["Flat", "lists"])
def test_threads_do_not_change_what_is_found(three_threads, monkeypatch, factory):
    monkeypatch.setattr(memory_module, "_QUERIES", 512)
    used = set()
    cosines = MemoryBank.cosines
    monkeypatch.setattr(MemoryBank, "cosines", lambda *of: used.add(threading.get_ident()) or cosines(*of))
    bank = bank_of_users(200, factory)
    found = []
    for threads in (3, 1):
        torch.set_num_threads(threads)
        some = np.arange(0, len(bank), 4)
        found.append(bank.search(bank.keys[some], bank.owners[some], bank.lengths[some], 10, part=len(bank)))
    assert np.array_equal(*found) and len(used) > 1


def test_a_search_by_tiles_is_the_search_of_faiss_with_leaks_and_ties(three_threads, monkeypatch):
    bank = bank_of_users(100, "Flat")
    rng = np.random.default_rng(1)
    hidden, before = rng.random(len(bank)) < 0.1, rng.integers(0, 50, len(bank)).astype(float)
    found = []
    for tiled in (1, 10**9):
        monkeypatch.setattr(index_module, "_TILED", tiled)
        found.append(bank.search(bank.keys, bank.owners, bank.lengths, 9, hidden=hidden, before=before))
    assert np.array_equal(*found) and (found[0] >= 0).any()


def bank_of_users(size: int, factory: str) -> MemoryBank:
    """A bank of ``size`` users with 40 memories each, whose times are known; some keys are equal."""
    rng, numbers = np.random.default_rng(0), np.arange(40 * size)
    keys = rng.normal(size=(len(numbers), 8)).astype(np.float32)
    keys[::7] = keys[::7].round()
    times = rng.integers(0, 50, len(numbers)).astype(float)
    return MemoryBank(keys, numbers % 50 + 1, numbers // 40 + 1, numbers % 40 + 1, times, factory)
