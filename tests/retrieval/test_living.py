"""The living memory: its store, its initial memories, and its snapshots."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from recbole_raserec.errors import ConfigError
from recbole_raserec.retrieval import living as living_module
from recbole_raserec.retrieval import segments
from recbole_raserec.retrieval.living import LivingMemory
from recbole_raserec.retrieval.memory import MemoryBank, normalise
from recbole_raserec.retrieval.names import Names
from recbole_raserec.retrieval.neighbours import NO_MEMORY
from tests.retrieval.living import D, Memory, add, check, open_living, random_memories, vectors

# -- the store and the initial memories ------------------------------------------------------------------------------


def test_there_is_no_store_before_the_first_change(tmp_path):
    rng = np.random.default_rng(0)
    initial = random_memories(rng, 1, 20)
    living = open_living(tmp_path / "m", initial)
    living.refresh()
    check(living, living.snapshot(), initial, rng)
    assert not list(tmp_path.iterdir())
    add(living, random_memories(rng, 21, 1))
    assert (tmp_path / "m").exists() and len(living) == 21


def test_the_store_counts_and_not_the_initial_memories(tmp_path):
    rng = np.random.default_rng(0)
    initial, other = random_memories(rng, 1, 5), random_memories(rng, 1, 9)
    living = open_living(tmp_path / "m", initial)
    new = Memory(6, (1.0, 0.0, 0.0), "a new item", "a new owner", 2, 3.0)
    add(living, [new])
    again = open_living(tmp_path / "m", other)
    check(again, again.snapshot(), [*initial, new], rng)
    assert again.items.tokens[-1] == "a new item" and "a new owner" in again.owners


def test_of_two_first_changes_both_count_and_one_seeds_the_store(tmp_path):
    rng = np.random.default_rng(0)
    initial, other = random_memories(rng, 1, 5), random_memories(rng, 1, 9)
    one, two = open_living(tmp_path / "m", initial), open_living(tmp_path / "m", other)
    new = random_memories(rng, 6, 2)
    add(one, new[:1])
    add(two, new[1:])
    one.refresh()
    for living in (one, two):
        check(living, living.snapshot(), initial + new, rng)


def test_half_precision_keys_are_the_same_before_and_after_a_start(tmp_path):
    initial = [Memory(1, (0.1, 0.2, 0.3), "i1", "u1", 1, None)]
    living = open_living(tmp_path / "m", initial, key_type="float16")
    add(living, [Memory(2, (0.4, 0.5, 0.6), "i1", "u1", 1, None)])
    again = open_living(tmp_path / "m", initial)
    for memory in (living, again):
        keys = memory.snapshot().neighbours(torch.tensor([[0, 1]])).keys.numpy()
        assert np.array_equal(keys, np.float16([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]).astype(np.float32))


def test_another_width_or_backbone_is_a_clear_error(tmp_path):
    living = open_living(tmp_path / "m", [])
    add(living, random_memories(np.random.default_rng(0), 1, 1))
    bank = MemoryBank(np.zeros((0, D + 1), np.float32), *(np.zeros(0, int) for _ in range(3)))
    with pytest.raises(ConfigError, match=f"keys of width {D}, and this model makes keys of width {D + 1}"):
        LivingMemory(bank, Names(), Names(), tmp_path / "m", "model")
    bank = MemoryBank(np.zeros((0, D), np.float32), *(np.zeros(0, int) for _ in range(3)))
    with pytest.raises(ConfigError, match="another backbone"):
        LivingMemory(bank, Names(), Names(), tmp_path / "m", "another")


def test_a_change_that_fails_changes_nothing(tmp_path):
    rng = np.random.default_rng(0)
    initial = random_memories(rng, 1, 8)
    living = open_living(tmp_path / "m", initial)
    with pytest.raises(ConfigError):
        living.add(np.ones((1, D)), ["i"], ["u"], [-1], [0.0])
    with pytest.raises(ConfigError):
        living.forget()
    check(living, living.snapshot(), initial, rng)


def test_a_closed_memory_is_opened_again_by_the_next_change(tmp_path):
    living, new = open_living(tmp_path / "m", []), random_memories(np.random.default_rng(0), 1, 2)
    add(living, new[:1])
    living.close()
    add(living, new[1:])
    assert len(living) == 2


def test_a_look_that_fails_is_made_again(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    one = open_living(tmp_path / "m", random_memories(rng, 1, 20))
    add(one, random_memories(rng, 21, 1))
    two = open_living(tmp_path / "m", [])
    add(one, random_memories(rng, 22, 1))
    changes = two._store.changes
    monkeypatch.setattr(two._store, "changes", lambda mark: changes(mark) and 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            two.refresh()
    monkeypatch.undo()
    two.refresh()
    assert len(two) == len(one)


# -- snapshots -------------------------------------------------------------------------------------------------------


def test_an_anonymous_history_is_nobodys_and_has_no_leaks(tmp_path):
    memories = [Memory(1, (1.0, 0.0, 0.0), "i1", None, 9, None), Memory(2, (1.0, 0.0, 0.0), "i1", "u1", 9, None)]
    living = open_living(tmp_path / "m", memories[:1])
    add(living, memories[1:])
    query, one = np.ones((1, D), np.float32), np.ones(1, int)
    assert living.snapshot().search(query, -one, one, 3).tolist() == [[0, 1, NO_MEMORY]]
    owner = np.array([living.owners.find("u1")])
    assert living.snapshot().search(query, owner, one, 3).tolist() == [[0, NO_MEMORY, NO_MEMORY]]


def test_cosines_and_neighbours_of_found_rows(tmp_path):
    rng = np.random.default_rng(0)
    memories = random_memories(rng, 1, 9)
    living = open_living(tmp_path / "m", memories[:5])
    add(living, memories[5:])
    snapshot, found = living.snapshot(), np.array([[0, 7, NO_MEMORY], [8, 4, 5]])
    queries = vectors(rng, 2, ties=False)
    keys = normalise(np.array([m.key for m in memories], np.float32))
    expected = np.where(found >= 0, np.einsum("rd,rkd->rk", normalise(queries), keys[found]), -np.inf)
    assert np.allclose(snapshot.cosines(queries, found), expected, atol=1e-6)
    near = snapshot.neighbours(torch.from_numpy(found))
    assert near.keys.shape == (6, D) and near.real.tolist() == (found >= 0).tolist()
    targets = [[living.items.tokens[n] for n in row] for row in near.items.tolist()]
    assert [[memories[n].target for n in row] for row in found[1:]] == targets[1:]
    assert near.items.dtype == torch.int64


def test_an_empty_memory_has_no_neighbours(tmp_path):
    snapshot = open_living(tmp_path / "m", []).snapshot()
    found = snapshot.search(np.ones((2, D), np.float32), np.array([1, 2]), np.array([3, 3]), 4)
    assert (found == NO_MEMORY).all()
    near = snapshot.neighbours(torch.from_numpy(found))
    assert near.is_empty and not near.real.any()


def test_a_memory_of_which_all_is_forgotten_has_no_neighbours(tmp_path):
    living = open_living(tmp_path / "m", [Memory(1, (1.0, 0.0, 0.0), "i1", "u1", 1, None)])
    living.forget(owner="u1")
    assert living.snapshot().neighbours(torch.full((2, 3), NO_MEMORY)).is_empty


def test_single_rows_have_single_values(tmp_path):
    living = open_living(tmp_path / "m", [Memory(1, (1.0, 0.0, 0.0), "i2", "u1", 4, 5.5)])
    add(living, [Memory(2, (1.0, 0.0, 0.0), "i1", None, 3, None)])
    snapshot = living.snapshot()
    assert (int(snapshot.ids(1)), int(snapshot.lengths(0)), float(snapshot.times(0))) == (2, 4, 5.5)
    assert snapshot.targets(np.array([[1], [0]])).tolist() == [[2], [3]] and int(snapshot.owners(1)) == 0


def test_a_time_before_most_memories_leaves_a_small_base(tmp_path):
    rng = np.random.default_rng(0)
    memories = random_memories(rng, 1, 100)
    living = open_living(tmp_path / "m", memories)
    early = [m for m in memories if m.time is None or m.time <= 0]
    assert len(living.snapshot().as_of(0).base) == len(early) < 50
    late = [m for m in memories if m.time is None or m.time <= 6]
    assert len(living.snapshot().as_of(6).base) == 100 > len(late)
    for time, expected in ((0, early), (6, late)):
        check(living, living.snapshot().as_of(time), expected, rng)


def test_many_deletions_shorten_the_base(tmp_path, monkeypatch):
    monkeypatch.setattr(living_module, "_LARGE", 10)
    rng = np.random.default_rng(0)
    memories = random_memories(rng, 1, 100)
    living = open_living(tmp_path / "m", memories)
    living.forget(owner="u1")
    left = [m for m in memories if m.owner != "u1"]
    assert len(living.snapshot().base) == len(left) < 90
    check(living, living.snapshot(), left, rng)


def test_adding_copies_no_older_memory(tmp_path):
    rng = np.random.default_rng(0)
    living = open_living(tmp_path / "m", random_memories(rng, 1, 50))
    add(living, random_memories(rng, 51, 10))
    before = living.snapshot()
    add(living, random_memories(rng, 61, 10))
    after = living.snapshot()
    assert after.base is before.base
    assert np.shares_memory(after.tail.bank.keys, before.tail.bank.keys)


def test_memories_that_come_and_go_leave_no_rows_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "_FEW", 4)
    rng = np.random.default_rng(0)
    living, stay = open_living(tmp_path / "m", []), random_memories(rng, 1, 6)
    add(living, stay)
    before = living.snapshot()
    for turn in range(20):
        living.add(vectors(rng, 3, True), ["i1"] * 3, [f"guest {turn}"] * 3, [1] * 3, [None] * 3)
        assert living.forget(owner=f"guest {turn}") == 3
        assert len(living.snapshot().tail) <= 15
    check(living, living.snapshot(), stay, rng)
    check(living, before, stay, rng)


def test_threads_read_while_one_writes(tmp_path):
    """Each owner's memories are added at once, so a reader sees all of them or none."""
    living, end, faults = open_living(tmp_path / "m", []), threading.Event(), []

    def read() -> None:
        while not end.is_set():
            snapshot = living.snapshot()
            found = snapshot.search(np.ones((1, D), np.float32), np.array([-1]), np.array([1]), 400)[0]
            found = found[found != NO_MEMORY]
            counts = np.unique(snapshot.owners(found), return_counts=True)[1]
            if len(found) != len(snapshot) or (counts != 3).any():
                faults.append((len(found), len(snapshot), counts))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(60):
        living.add(np.ones((3, D)), ["i1"] * 3, [f"u{n}"] * 3, [1] * 3, [0.0] * 3)
        if n % 4 == 3:
            living.forget(owner=f"u{n - 2}")
        if n % 20 == 19:
            living.compact()
    end.set()
    for reader in readers:
        reader.join()
    assert not faults and len(living) == 3 * 45
