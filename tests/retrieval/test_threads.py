"""Parts of a search on several threads."""

from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest
import torch

from recbole_raserec.retrieval import memory as memory_module
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.threads import side_by_side


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_are_in_the_order_of_the_parts_and_each_part_has_one_thread(three_threads):
    meet = threading.Barrier(3)  # passed only if three parts run at once

    def work(part):
        meet.wait(timeout=60)
        return part, threading.get_ident(), torch.get_num_threads(), faiss.omp_get_max_threads()

    before = faiss.omp_get_max_threads()
    parts, idents, torchs, faisses = zip(*side_by_side(work, [5, 3, 4]))
    assert parts == (5, 3, 4) and len(set(idents)) == 3
    assert set(torchs) == set(faisses) == {1}
    assert torch.get_num_threads() == 3 and faiss.omp_get_max_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [3]  # a new thread is not left with one


def test_a_single_part_stays_on_the_thread_of_the_caller(three_threads):
    assert side_by_side(lambda part: threading.get_ident(), [0]) == [threading.get_ident()]


def test_an_error_ends_the_search_and_leaves_the_number_of_threads(three_threads):
    def work(part):
        raise ValueError(part)

    with pytest.raises(ValueError, match="7"):
        side_by_side(work, [7, 8, 9, 10])
    assert torch.get_num_threads() == 3


def test_progress_sees_every_part(three_threads):
    seen = []

    def progress(parts):
        for part in parts:
            seen.append(part)
            yield part

    assert side_by_side(abs, [-1, -2, -3, -4], progress) == [1, 2, 3, 4] and len(seen) == 4


@pytest.mark.parametrize("factory", ["Flat", "lists", "IVF9,SQ8"])
def test_threads_do_not_change_what_is_found(three_threads, monkeypatch, factory):
    monkeypatch.setattr(memory_module, "_QUERIES", 512)
    monkeypatch.setattr(memory_module, "_TILED_QUERIES", 512)
    rng = np.random.default_rng(0)
    keys, numbers = rng.normal(size=(20_000, 8)).astype(np.float32), np.arange(20_000)
    found = []
    for threads in (3, 1):
        torch.set_num_threads(threads)
        bank = MemoryBank(keys, numbers % 50 + 1, numbers // 40 + 1, numbers % 40 + 1, None, factory)
        some = numbers[::4]
        found.append(bank.search(keys[some], some // 40 + 1, some % 40 + 1, 15, part=len(keys)))
    assert np.array_equal(*found)
