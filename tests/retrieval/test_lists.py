"""The search list by list, against an exact search."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_raserec.retrieval import index as index_module
from recbole_raserec.retrieval import list_segment
from recbole_raserec.retrieval import lists as lists_module
from recbole_raserec.retrieval.index import normalise
from recbole_raserec.retrieval.list_segment import Segment
from recbole_raserec.retrieval.lists import build_lists
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.recall import check_recall, exact_search, measure_recall
from recbole_raserec.runtime.ragged import offsets_of


def clustered(seed: int, size: int, equal: int = 0) -> np.ndarray:
    """[size, 8] keys around 20 centres, ``equal`` of them equal; none has length 1."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, 8))
    keys = centres[rng.integers(0, 20, size)] + 0.3 * rng.normal(size=(size, 8))
    keys[:equal] = keys[0]
    return (3 * keys).astype(np.float32)


@settings(max_examples=40)
@given(st.integers(1, 800), st.integers(1, 100), st.integers(1, 40), st.sampled_from([None, 50]))
def test_lists_that_are_read_whole_find_what_an_exact_search_finds(size, count, depth, block):
    """``block`` is the number of keys that are handled together; a large bank has several blocks."""
    with ExitStack() as small:
        for module, name in (
            (lists_module, "BLOCK"), (lists_module, "_COSINES"), (list_segment, "BLOCK"), (list_segment, "TILE")
        ):  # fmt: skip
            if block:
                small.enter_context(mock.patch.object(module, name, block))
        check_lists_that_are_read_whole(size, count, depth)


def check_lists_that_are_read_whole(size, count, depth):
    keys, queries = clustered(size, size, size // 10), normalise(clustered(size + 1, count))
    lists = build_lists(keys)
    lists.read = size
    cosines, found = lists.search(queries, depth)
    exact = queries @ normalise(keys).T
    expected = -np.sort(-exact, axis=1)[:, :depth]
    near = min(size, depth)
    assert np.allclose(cosines[:, :near], expected, atol=2e-3)
    assert np.allclose(np.take_along_axis(exact, found[:, :near], axis=1), cosines[:, :near], atol=2e-3)
    assert all(len(set(row)) == near for row in found[:, :near].tolist())
    assert (found[:, near:] == -1).all() and (cosines[:, near:] == -np.inf).all()


def test_every_key_is_in_one_list_and_finds_itself():
    keys = clustered(0, 3000, 300)
    lists = build_lists(keys)
    (segment,) = lists.segments
    assert np.array_equal(np.sort(segment.numbers), np.arange(3000))
    assert segment.starts[-1] == 3000 == lists.ntotal
    lists.read = 1
    best = lists.search(normalise(keys), 1)[0]
    assert np.allclose(best, 1, atol=1e-3)


def test_equal_keys_make_equal_lists():
    (one,), (two,) = (build_lists(clustered(0, 2000)).segments for _ in range(2))
    assert np.array_equal(one.numbers, two.numbers)
    assert one.codes.equal(two.codes)


def test_what_is_read_trades_time_for_recall():
    keys = clustered(0, 6000)
    lists, truth = build_lists(keys), exact_search(keys, keys[:300], 20)
    recalls = []
    for lists.read in (1, 600, 6000):
        recalls.append(measure_recall(lists, keys, truth))
    assert recalls[0] < recalls[1] <= recalls[2] == 1.0
    assert check_recall(lists, keys, 0.97) >= 0.97
    assert 1 < lists.read < 6000


def test_few_regions_are_looked_at_if_there_are_very_many_lists(monkeypatch):
    keys = clustered(0, 6000)
    lists, truth = build_lists(keys), exact_search(keys, keys[:300], 20)
    lists.read = 1000
    everywhere = measure_recall(lists, keys, truth)
    monkeypatch.setattr(lists_module, "_NEAR", 30)  # of 100
    assert 0.8 < measure_recall(lists, keys, truth) <= everywhere


@pytest.mark.parametrize("read", [2000, 200])
def test_a_large_bank_searches_a_part_of_the_data_by_lists(monkeypatch, read):
    """With all keys read, its answer is that of an exact bank, without leaks."""
    monkeypatch.setattr(index_module, "FLAT_FLOATS", 1000)
    monkeypatch.setattr(lists_module, "FEW", 100)
    rng = np.random.default_rng(3)
    keys, owners, lengths = clustered(0, 2000), rng.integers(1, 40, 2000), rng.integers(1, 9, 2000)
    bank = MemoryBank(keys, np.arange(2000), owners, lengths, index_factory="auto")
    bank._lists.read = read
    found = bank.search(keys, owners, lengths, 10, part=2000)
    exact = MemoryBank(keys, np.arange(2000), owners, lengths).search(keys, owners, lengths, 10)
    if read == 2000:
        assert np.array_equal(found, exact)
    else:
        assert 0.5 < np.mean(found == exact) < 1
    assert not ((owners[found] == owners[:, None]) & (lengths[found] >= lengths[:, None]))[found >= 0].any()
    assert bank.index_facts()["factory"] == "lists"
    assert not bank.has_index
    bank.search(keys[:3], owners[:3], lengths[:3], 10)  # few queries
    assert bank.has_index


def test_lists_can_be_chosen_for_a_small_bank(monkeypatch):
    monkeypatch.setattr(lists_module, "FEW", 100)
    bank = MemoryBank(clustered(0, 300), np.arange(300), np.ones(300, int), np.arange(300), index_factory="lists")
    nobody = np.full(300, 2)
    assert np.array_equal(bank.search(bank.keys, nobody, nobody, 1, part=300)[:, 0], np.arange(300))
    assert bank.index_facts()["factory"] == "lists"
    assert bank.search(bank.keys[:1], nobody[:1], nobody[:1], 1) == 0  # by FAISS
    assert bank.has_index
    assert bank.index_facts()["factory"] == "lists"


def test_equal_keys_leave_no_empty_lists_or_regions(monkeypatch):
    """FAISS starts with equal centroids where keys are equal. Empty lists would hide the full ones."""
    monkeypatch.setattr(lists_module, "_NEAR", 20)
    monkeypatch.setattr(lists_module, "_NEARER", 2)
    monkeypatch.setattr(lists_module, "_AROUND", 2)
    keys = clustered(0, 3000)
    keys[1000:] = keys[0]
    lists = build_lists(keys)
    assert (lists.segments[0].sizes > 0).all() and (np.diff(lists.first) > 0).all()
    assert lists.first[-1] == len(lists.centroids) and len(lists.first) == len(lists.regions) + 1
    lists.read = 100
    cosines, found = lists.search(normalise(keys), 5)
    assert np.allclose(cosines[:, 0], 1, atol=1e-3)
    assert (found >= 0).all()
    same = build_lists(np.repeat(keys[:1], 300, axis=0))
    assert len(same.centroids) == 1 and (same.search(normalise(keys[:9]), 5)[1] >= 0).all()


def test_a_sample_has_few_keys_of_a_list():
    keys = clustered(0, 3000)
    keys[1000:] = keys[0]
    sample = build_lists(keys).sample(900)
    assert 900 <= len(sample) <= 900 + 256 and len(set(sample)) == len(sample)
    assert 0 < np.isin(sample, np.flatnonzero((keys == keys[0]).all(axis=1))).sum() <= 256


def test_keys_of_small_and_of_large_lists_are_as_likely_in_a_sample():
    starts = offsets_of(np.repeat([10, 100], 1000))
    segment = Segment(starts, np.arange(starts[-1]), torch.empty(0))
    assert np.mean(segment.sample(20_000) < 10_000) == pytest.approx(10_000 / starts[-1], abs=0.02)


def test_more_memories_than_were_read_are_found_if_leaks_ask_for_them(monkeypatch):
    monkeypatch.setattr(lists_module, "FEW", 100)
    rng = np.random.default_rng(0)
    keys = clustered(0, 1500)
    bank = MemoryBank(keys, np.arange(1500), rng.integers(1, 99, 1500), np.ones(1500, int), index_factory="lists")
    bank._lists.read = 200
    hidden = np.arange(1500) % 15 > 0
    nobody = np.full(1500, 100)
    found = bank.search(keys, nobody, nobody, 100, hidden=hidden, part=1500)
    assert (np.sort(found, axis=1) == np.arange(0, 1500, 15)).all()


def test_lists_that_grow_hold_the_new_keys_where_they_are_nearest():
    keys, more = clustered(0, 2000, 100), clustered(1, 500, 50)
    lists = build_lists(keys)
    grown, both = lists.grown(more), np.concatenate([keys, more])
    (before,), (old, new) = lists.segments, grown.segments
    assert old is before and grown.ntotal == 2500  # nothing is copied
    assert np.array_equal(np.sort(new.numbers), np.arange(2000, 2500))
    of = np.repeat(np.arange(len(lists.centroids)), new.sizes)
    assert np.array_equal(of, lists.assign(both[new.numbers]))
    kept = lists.centroids[torch.from_numpy(of)] + new.codes
    assert np.allclose(kept.numpy(), normalise(both[new.numbers]), atol=2e-3)
    grown.read = 2500
    cosines, _ = grown.search(normalise(more), 30)
    exact = normalise(more) @ normalise(both).T
    assert np.allclose(cosines, -np.sort(-exact, axis=1)[:, :30], atol=2e-3)


def test_a_bank_that_grows_a_little_keeps_its_lists(monkeypatch):
    monkeypatch.setattr(lists_module, "FEW", 100)
    bank, small, large = (
        MemoryBank(keys, np.arange(len(keys)), *np.ones((2, len(keys)), int), index_factory="lists")
        for keys in (clustered(0, 2000), clustered(1, 500), clustered(2, 501))
    )
    assert bank.grown(small)._lists.segments[0] is bank._lists.segments[0]
    assert bank.grown(small)._lists.ntotal == 2500
    # A copy in another process, and a bank that does not stay, have lists of their own.
    for alone in (bank.grown(large), bank.join(small), pickle.loads(pickle.dumps(bank.grown(small)))):
        assert len(alone._lists.segments) == 1 and alone._lists.ntotal == len(alone)
