from __future__ import annotations

import dataclasses
import weakref

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.errors import ConfigError
from recbole_raserec.retrieval import memory as memory_module
from recbole_raserec.retrieval.index import build_index
from recbole_raserec.retrieval.memory import NO_OWNER, MemoryBank, normalise
from recbole_raserec.retrieval.neighbours import NO_MEMORY


def random_bank(rng: np.random.Generator, size: int, users: int, **settings) -> MemoryBank:
    return MemoryBank(
        keys=rng.normal(size=(size, 4)).astype(np.float32),
        targets=rng.integers(1, 50, size),
        owners=rng.integers(0, users + 1, size),
        lengths=rng.integers(1, 9, size),
        **settings,
    )


def brute_force(bank: MemoryBank, query: np.ndarray, user: int, length: int, k: int) -> list[int]:
    exact = normalise(bank.keys).astype(np.float64) @ normalise(query[None])[0].astype(np.float64)
    similarity = exact.astype(np.float32)
    allowed = [
        n for n in range(len(bank)) if bank.owners[n] != user or bank.owners[n] == NO_OWNER or bank.lengths[n] < length
    ]
    return sorted(allowed, key=lambda n: -similarity[n])[:k]


@given(st.integers(1, 120), st.integers(1, 4), st.integers(1, 30), st.integers(0, 10**6))
def test_search_is_brute_force_without_leaks(size, users, k, seed):
    rng = np.random.default_rng(seed)
    bank = random_bank(rng, size, users)
    queries = rng.normal(size=(6, 4)).astype(np.float32)
    who, lengths = rng.integers(1, users + 1, 6), rng.integers(1, 9, 6)
    found = bank.search(queries, who, lengths, k)
    assert found.shape == (6, k)
    for row, query, user, length in zip(found, queries, who, lengths):
        expected = brute_force(bank, query, user, length, k)
        assert row.tolist() == expected + [NO_MEMORY] * (k - len(expected))


@given(st.integers(1, 200), st.integers(1, 4), st.integers(1, 30), st.integers(0, 10**6))
def test_of_equally_near_memories_the_first_are_found_however_many_are_sought(size, users, k, seed):
    rng = np.random.default_rng(seed)
    bank = random_bank(rng, size, users)
    keys = rng.integers(-1, 2, (size, 4)).astype(np.float32)  # at most 81 different ones
    bank = dataclasses.replace(bank, keys=keys)
    queries = rng.integers(-1, 2, (6, 4)).astype(np.float32)
    who, lengths = rng.integers(1, users + 1, 6), rng.integers(1, 9, 6)
    deep = bank.search(queries, who, lengths, 40)
    assert np.array_equal(deep[:, :k], bank.search(queries, who, lengths, k))
    for row, query, user, length in zip(deep, queries, who, lengths):
        expected = brute_force(bank, query, user, length, 40)
        assert row.tolist() == expected + [NO_MEMORY] * (40 - len(expected))


@given(st.integers(1, 120), st.integers(1, 30), st.integers(0, 10**6))
def test_a_time_for_each_query_leaves_out_what_is_not_older(size, k, seed):
    rng = np.random.default_rng(seed)
    times = np.where(rng.random(size) < 0.2, np.nan, rng.integers(0, 9, size))
    bank = dataclasses.replace(random_bank(rng, size, 3), times=times)
    queries, before = rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 10, 6).astype(float)
    who, lengths = rng.integers(1, 4, 6), rng.integers(1, 9, 6)
    found = bank.search(queries, who, lengths, k, before=before)
    for row, query, user, length, limit in zip(found, queries, who, lengths, before):
        whole = brute_force(bank, query, user, length, size)
        expected = [n for n in whole if np.isnan(times[n]) or times[n] < limit][:k]
        assert row.tolist() == expected + [NO_MEMORY] * (k - len(expected))


def test_the_deeper_second_round_is_needed_and_taken(monkeypatch):
    """The nearest 300 memories are a user's own later memories. All of them are leaks."""
    rng = np.random.default_rng(0)
    own = np.ones((300, 4)) + 0.01 * rng.normal(size=(300, 4))
    others = rng.normal(size=(30, 4))
    bank = MemoryBank(
        np.r_[own, others].astype(np.float32),
        np.ones(330, int),
        np.r_[np.full(300, 1), np.full(30, 2)],
        np.full(330, 5),
    )
    query = np.ones((1, 4), np.float32)
    found = bank.search(query, np.array([1]), np.array([5]), 10)[0]
    assert found.tolist() == brute_force(bank, query[0], 1, 5, 10)
    assert (bank.owners[found] == 2).all()


@pytest.mark.parametrize(("limit", "value"), [("_QUERIES", 5), ("_CANDIDATES", 75), ("_COMPARED", 20)])
def test_blocks_do_not_change_the_result(monkeypatch, limit, value):
    rng = np.random.default_rng(1)
    bank, queries = random_bank(rng, 80, 3), rng.normal(size=(23, 4)).astype(np.float32)
    args = (queries, rng.integers(1, 4, 23), rng.integers(1, 9, 23), 7)
    whole = bank.search(*args)
    monkeypatch.setattr(memory_module, limit, value)
    assert np.array_equal(bank.search(*args), whole)


def test_hidden_memories_are_not_found_however_many_are_nearer():
    rng = np.random.default_rng(0)
    keys = np.r_[np.ones((3000, 4)) + 0.01 * rng.normal(size=(3000, 4)), rng.normal(size=(30, 4))].astype(np.float32)
    bank = MemoryBank(keys, *(np.ones(3030, int) for _ in range(3)))
    query, who = np.ones((1, 4), np.float32), np.array([2])
    found = bank.search(query, who, who, 10, hidden=np.arange(3030) < 3000)[0]
    assert found.tolist() == [n for n in brute_force(bank, query[0], 2, 2, 3030) if n >= 3000][:10]


def test_an_empty_memory_returns_none_for_all():
    bank = MemoryBank(np.zeros((0, 4), np.float32), *(np.zeros(0, int) for _ in range(3)))
    found = bank.search(np.ones((2, 4), np.float32), np.array([1, 2]), np.array([3, 3]), 4)
    assert (found == NO_MEMORY).all()


def test_joined_memories_are_both():
    rng = np.random.default_rng(2)
    first, second = random_bank(rng, 20, 3), random_bank(rng, 15, 3)
    both = first.join(second)
    assert len(both) == 35
    query = second.keys[4:5]
    assert both.search(query, np.array([99]), np.array([1]), 1)[0, 0] == 24


def test_a_bank_that_grew_keeps_its_memories_and_shares_its_keys():
    rng = np.random.default_rng(2)
    bank, further = random_bank(rng, 20, 3), random_bank(rng, 5, 3)
    keys, query = bank.keys.copy(), (further.keys[:2], np.array([99, 98]), np.array([1, 1]))
    indices = torch.tensor([[3, 19]])
    before, vectors = bank.search(*query, 6), bank.neighbours(indices).vectors
    old = weakref.ref(bank.keys)
    grown = bank.grown(further)
    assert np.shares_memory(bank.keys, grown.keys)
    assert old() is None  # nothing holds the array of before
    np.testing.assert_array_equal(bank.keys, keys)
    np.testing.assert_array_equal(bank.search(*query, 6), before)
    assert torch.equal(bank.neighbours(indices).vectors, vectors)
    joined = bank.join(further)
    np.testing.assert_array_equal(grown.search(*query, 6), joined.search(*query, 6))
    assert not np.shares_memory(bank.keys, joined.keys)


def test_an_approximate_index_logs_its_recall(caplog):
    caplog.set_level("INFO")
    bank = random_bank(np.random.default_rng(3), 400, 3, index_factory="IVF4,Flat", index_nprobe=1)
    bank.search(bank.keys[:5], np.full(5, 99), np.full(5, 1), 5)
    assert "of the exact" in caplog.text


@pytest.mark.parametrize("factory", ["IVF8,Flat", "PCA3,IVF8,Flat"])
def test_visiting_every_list_reaches_the_index_behind_a_transform(factory):
    index = build_index(normalise(np.random.default_rng(0).normal(size=(400, 4))), factory, nprobe=99)
    assert faiss.extract_index_ivf(index).nprobe == 8


def test_an_impossible_index_is_a_clear_error():
    bank = random_bank(np.random.default_rng(3), 10, 3, index_factory="NoSuchIndex")
    with pytest.raises(ConfigError, match="index_factory='NoSuchIndex'"):
        bank.search(bank.keys[:1], np.array([1]), np.array([1]), 2)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from([0.25, 0.5, 0.9, 1.0]))
def test_the_older_memories_are_each_owners_first(owners, share):
    owners = np.sort(owners)
    lengths = np.concatenate([np.arange(1, n + 1) for n in np.unique(owners, return_counts=True)[1]])
    bank = MemoryBank(np.eye(len(owners), 4, dtype=np.float32), np.arange(len(owners)), owners, lengths)
    kept = bank.older(share).targets.tolist()
    expected = []
    for owner in np.unique(owners):
        mine = np.flatnonzero(owners == owner).tolist()
        expected += mine if owner == NO_OWNER else mine[: int(np.ceil(share * len(mine)))]
    assert kept == expected


def test_the_bank_is_sorted_once_however_often_it_is_searched(monkeypatch):
    sort, sorts = np.sort, []

    def counting(array, *more, **how):
        sorts.append(np.ndim(array))
        return sort(array, *more, **how)

    monkeypatch.setattr(memory_module.np, "sort", counting)
    rng = np.random.default_rng(4)
    leaks = np.ones((60, 4), np.float32) + rng.normal(scale=0.01, size=(60, 4)).astype(np.float32)
    bank = MemoryBank(np.r_[leaks, -leaks], np.ones(120, int), np.repeat([1, 2], 60), np.full(120, 5))
    for _ in range(3):  # the leaks fill the first result, so they are counted
        bank.search(leaks[:5], np.full(5, 1), np.full(5, 3), 4)
    assert sorts.count(1) == 1


def test_neighbours_are_read_from_the_bank():
    bank = random_bank(np.random.default_rng(5), 30, 3)
    found = bank.search(bank.keys[:4], np.full(4, 99), np.full(4, 1), 40)
    near = bank.neighbours(torch.from_numpy(found))
    assert near.keys.data_ptr() == bank.keys.ctypes.data  # not copied
    assert near.real.sum(dim=1).tolist() == [30] * 4
    assert np.array_equal(near.vectors[:, :30].numpy(), bank.keys[found[:, :30]])
    rows = bank.neighbours(torch.from_numpy(found[[2, 0]])).nearest(3)
    assert np.array_equal(rows.items.numpy(), bank.targets[found[[2, 0], :3]])
