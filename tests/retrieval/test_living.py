"""The living memory: whatever was added, forgotten and compacted, a search is brute force over what is left."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_raserec.errors import ConfigError
from recbole_raserec.retrieval import living as living_module
from recbole_raserec.retrieval import segments
from recbole_raserec.retrieval.index_cache import IndexCache
from recbole_raserec.retrieval.living import IndexSettings, LivingMemory
from recbole_raserec.retrieval.memory import MemoryBank, normalise
from recbole_raserec.retrieval.names import Names
from recbole_raserec.retrieval.neighbours import NO_MEMORY
from recbole_raserec.retrieval.snapshot import Snapshot

D = 3
ITEMS, OWNERS = [f"i{n}" for n in range(6)], [f"u{n}" for n in range(4)]


@dataclass(frozen=True)
class Memory:
    """One memory as it should be."""

    id: int
    key: tuple[float, ...]
    target: str
    owner: str | None
    length: int
    time: float | None


def names(tokens: list[str]) -> Names:
    return Names(["[PAD]", *tokens])


def vectors(rng: np.random.Generator, n: int, ties: bool) -> np.ndarray:
    """[n, D] vectors. With ``ties`` few of them differ, so that many memories are equally near."""
    return (rng.integers(-1, 2, (n, D)) if ties else rng.normal(size=(n, D))).astype(np.float32)


def random_memories(rng: np.random.Generator, first: int, n: int, ties: bool = True) -> list[Memory]:
    return [
        Memory(
            first + j,
            tuple(vectors(rng, 1, ties)[0].tolist()),
            str(rng.choice(ITEMS)),
            None if rng.random() < 0.3 else str(rng.choice(OWNERS)),
            int(rng.integers(0, 6)),
            None if rng.random() < 0.3 else float(rng.integers(0, 8)),
        )
        for j in range(n)
    ]


def open_living(path: Path, initial: list[Memory], known: int = 3, **more) -> LivingMemory:
    """A living memory over ``initial``, whose owners are of the first ``known``."""
    items, owners = names(ITEMS), names(OWNERS[:known])
    bank = MemoryBank(
        np.array([m.key for m in initial], np.float32).reshape(-1, D),
        np.array([items.find(m.target) for m in initial], int),
        np.array([0 if m.owner is None else owners.add(m.owner) for m in initial], int),
        np.array([m.length for m in initial], int),
        np.array([m.time for m in initial], float),
    )
    return LivingMemory(bank, items, owners, path, "model", **more)


def add(living: LivingMemory, new: list[Memory]) -> None:
    keys = np.array([m.key for m in new]).reshape(-1, D)
    ids = living.add(
        keys, [m.target for m in new], [m.owner for m in new], [m.length for m in new], [m.time for m in new]
    )
    assert ids.tolist() == [m.id for m in new]


def check(
    living: LivingMemory, snapshot: Snapshot, expected: list[Memory], rng: np.random.Generator, ties: bool = True
) -> None:
    """The snapshot answers as brute force over ``expected``, and its rows have the right content."""
    assert len(snapshot) == len(expected)
    queries = vectors(rng, 2, ties)
    asked = [None if rng.random() < 0.3 else str(rng.choice(OWNERS)) for _ in queries]
    numbers = [-1 if owner is None else (living.owners.find(owner) or -1) for owner in asked]
    lengths, k = rng.integers(0, 7, 2), int(rng.integers(1, 8))
    found = snapshot.search(queries, np.array(numbers), lengths, k)
    assert found.dtype == np.int32 and found.shape == (2, k)
    rows = np.unique(found[found != NO_MEMORY])
    seen = dict(zip(rows.tolist(), content(living, snapshot, rows)))
    keys = normalise(np.array([m.key for m in expected], np.float32).reshape(-1, D)).astype(float)
    for query, owner, length, rows in zip(normalise(queries), asked, lengths, found):
        cosine = (keys @ query.astype(float)).astype(np.float32)
        allowed = [
            n
            for n, m in enumerate(expected)
            if m.owner is None or owner is None or m.owner != owner or m.length < length
        ]
        best = sorted(allowed, key=lambda n: -cosine[n])[:k]
        assert [seen[row] for row in rows.tolist() if row != NO_MEMORY] == [expected[n] for n in best]
        assert (rows[len(best) :] == NO_MEMORY).all()


def content(living: LivingMemory, snapshot: Snapshot, rows: np.ndarray) -> list[Memory]:
    """What the snapshot says of each of ``rows``."""
    keys = snapshot.neighbours(torch.from_numpy(rows)[None]).vectors[0].tolist()
    columns = [getattr(snapshot, name)(rows).tolist() for name in ("ids", "targets", "owners", "lengths", "times")]
    return [
        Memory(
            number,
            tuple(key),
            living.items.tokens[target],
            living.owners.tokens[owner] if owner else None,
            length,
            None if np.isnan(time) else time,
        )
        for key, number, target, owner, length, time in zip(keys, *columns)
    ]


class Story:
    """A living memory, a second one on the same store, and what both should hold."""

    def __init__(self, folder: Path, seed: int, **more) -> None:
        self.rng, self.folder, self.more = np.random.default_rng(seed), folder, more
        self.ties = "index" not in more  # an approximate index does not look for more ties
        self.initial = random_memories(self.rng, 1, int(self.rng.integers(0, 12)), self.ties)
        self.expected, self.next = list(self.initial), len(self.initial) + 1
        self.first, self.second = self.open(), self.open()
        self.old: list[tuple[LivingMemory, Snapshot, list[Memory]]] = []

    def open(self) -> LivingMemory:
        return open_living(self.folder / "m", self.initial, **self.more)

    def step(self, number: int) -> None:
        """One of ten operations, by either of the two, then a comparison of one of them."""
        writer, other = (self.first, self.second) if self.rng.random() < 0.7 else (self.second, self.first)
        writer.refresh()
        operation = number % 10
        if operation <= 3:
            new = random_memories(self.rng, self.next, int(self.rng.integers(0, 5)), self.ties)
            add(writer, new)
            self.next += len(new)
            self.expected += new
        elif operation == 4:
            owner = str(self.rng.choice(OWNERS))
            self.delete(writer.forget(owner=owner), [m for m in self.expected if m.owner != owner])
        elif operation == 5:
            item = str(self.rng.choice(ITEMS))
            self.delete(writer.forget(item=item), [m for m in self.expected if m.target != item])
        elif operation == 6:
            before = float(self.rng.integers(0, 5))
            self.delete(writer.expire(before), [m for m in self.expected if m.time is None or m.time >= before])
        elif operation == 7:
            writer.compact()
        elif operation == 8:
            self.first.close()
            self.first = self.open()
        else:
            self.old = [*self.old[-2:], (writer, writer.snapshot(), list(self.expected))]
        other.refresh()
        for living in (self.first,) if operation == 8 else (other,) if self.rng.random() < 0.5 else (writer, other):
            check(living, living.snapshot(), self.expected, self.rng, self.ties)
        time = float(self.rng.integers(0, 9))
        check(
            writer,
            writer.snapshot().as_of(time),
            [m for m in self.expected if m.time is None or m.time <= time],
            self.rng,
            self.ties,
        )
        for living, snapshot, expected in self.old if operation > 6 else self.old[:1]:
            check(living, snapshot, expected, self.rng, self.ties)

    def delete(self, count: int, left: list[Memory]) -> None:
        assert count == len(self.expected) - len(left)
        self.expected = left

    def close(self) -> None:
        self.first.close()
        self.second.close()


def tell(steps: list[int], seed: int, large: int) -> None:
    """A story in a folder of its own, in main memory if there is such a folder."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(living_module, "_LARGE", large)
        patch.setattr(segments, "_FEW", 2)
        try:
            with closing(Story(folder, seed)) as story:
                for step in steps:
                    story.step(step)
        finally:
            shutil.rmtree(folder)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=25), st.integers(0, 10**6), st.sampled_from([1, 8, 10**6]))
def test_any_story_ends_as_brute_force_says(steps, seed, large):
    tell(steps, seed, large)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_long_stories(part):
    rng = np.random.default_rng(part)
    for _ in range(100):
        tell(rng.integers(0, 10, 100).tolist(), int(rng.integers(10**6)), int(rng.choice([1, 8, 10**6])))


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


# -- the index -------------------------------------------------------------------------------------------------------

IVF = IndexSettings("IVF4,Flat", nprobe=4)  # visits all lists, so it is exact


@pytest.fixture
def builds(monkeypatch) -> list[int]:
    """Sizes of the indexes that were built."""
    from recbole_raserec.retrieval import memory

    sizes, build = [], memory.build_index

    def counting(keys, *more):
        sizes.append(len(keys))
        return build(keys, *more)

    monkeypatch.setattr(memory, "build_index", counting)
    return sizes


def indexed(tmp_path: Path, rng: np.random.Generator, size: int = 200) -> tuple[LivingMemory, list[Memory]]:
    """A living memory with an approximate index, its store and its cached index."""
    memories = random_memories(rng, 1, size + 3, ties=False)
    living = open_living(tmp_path / "m", memories[:size], index=IVF)
    add(living, memories[size:])
    assert (tmp_path / "m.index").exists()
    return living, memories


def test_a_start_reads_the_index_and_searches_newer_memories_exactly(tmp_path, builds):
    rng = np.random.default_rng(0)
    memories = indexed(tmp_path, rng)[1]
    builds.clear()
    again = open_living(tmp_path / "m", [], index=IndexSettings("IVF4,Flat", nprobe=2))
    assert faiss.extract_index_ivf(again.snapshot().base.bank.index).nprobe == 2
    again = open_living(tmp_path / "m", [], index=IVF)
    assert not builds and len(again.snapshot().base) == 200 and len(again.snapshot().tail) == 3
    for _ in range(5):
        check(again, again.snapshot(), memories, rng, ties=False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "m.index").write_bytes((folder / "m.index").read_bytes()[:-9]),
        lambda folder: (folder / "m.index").write_bytes((folder / "m.index").read_bytes()[:-9] + b"damaged!!"),
        lambda folder: (folder / "m.index.json").write_text("{"),
        lambda folder: (folder / "m.index.json").write_text("[]"),
        lambda folder: (folder / "m.index").unlink(),
    ],
)
def test_a_damaged_index_is_built_anew(tmp_path, builds, damage):
    rng = np.random.default_rng(0)
    memories = indexed(tmp_path, rng)[1]
    damage(tmp_path)
    builds.clear()
    again = open_living(tmp_path / "m", [], index=IVF)
    assert builds == [203]
    check(again, again.snapshot(), memories, rng, ties=False)
    builds.clear()
    open_living(tmp_path / "m", [], index=IVF)
    assert not builds


@pytest.mark.parametrize("field", ["model", "epoch", "generation", "factory", "faiss", "rows", "watermark"])
def test_an_index_of_another_state_is_built_anew(tmp_path, builds, field):
    indexed(tmp_path, np.random.default_rng(0))
    header = json.loads((tmp_path / "m.index.json").read_text())
    (tmp_path / "m.index.json").write_text(json.dumps({**header, field: 7}))
    builds.clear()
    open_living(tmp_path / "m", [], index=IVF)
    assert builds == [203]


def test_a_deletion_removes_the_index_and_what_is_left_of_unfinished_ones(tmp_path, builds):
    rng = np.random.default_rng(0)
    living, memories = indexed(tmp_path, rng)
    (tmp_path / ".m.index.abc").write_text("keys")
    (tmp_path / "m.index.mine").write_text("another file")
    living.forget(owner="u1")
    assert {path.name for path in tmp_path.iterdir()} - {"m-wal", "m-shm"} == {"m", "m.index.mine"}
    left = [m for m in memories if m.owner != "u1"]
    check(living, living.snapshot(), left, rng, ties=False)
    living.compact()
    assert (tmp_path / "m.index").exists()
    check(living, living.snapshot(), left, rng, ties=False)


def test_an_index_that_was_built_before_anothers_deletion_is_not_kept(tmp_path):
    living, _ = indexed(tmp_path, np.random.default_rng(0))
    other = open_living(tmp_path / "m", [], index=IVF)
    other.forget(owner="u1")
    living._keep_index(living.snapshot().base)  # does not know of it yet
    living._save_index()
    assert not list(tmp_path.glob("*index*"))


def test_no_index_is_written_after_a_deletion(tmp_path, monkeypatch):
    """It would hold the deleted keys until the check at its end."""
    written = []
    monkeypatch.setattr(IndexCache, "save", lambda cache, index, mark: written.append(mark))
    rng = np.random.default_rng(0)
    living = open_living(tmp_path / "m", random_memories(rng, 1, 200, ties=False), index=IVF)
    assert living.forget(owner="u1")  # the first change, which creates the store
    assert not written
    living.compact()
    assert len(written) == 1


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


def test_forgotten_keys_are_in_no_file_also_not_in_the_index(tmp_path, monkeypatch):
    living, memories = indexed(tmp_path, np.random.default_rng(0))
    monkeypatch.setattr(living_module, "_LARGE", 60)
    secret = normalise(np.array([m.key for m in memories if m.owner == "u1"], np.float32))

    def found() -> int:
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        return sum(key.tobytes() in content for key in secret)

    assert found() == 200 - sum(m.owner != "u1" for m in memories[:200])  # the index has them, the tail is not in it
    living.forget(owner="u1")
    assert not found() and living.snapshot().base.deaths
    add(living, random_memories(np.random.default_rng(1), 204, 61, ties=False))  # the tail goes into the index
    assert not found() and len(living.snapshot().base) > 200
    living.close()
    open_living(tmp_path / "m", [], index=IVF)
    assert not found() and (tmp_path / "m.index").exists()


def test_a_large_tail_goes_into_the_index_without_a_new_one(tmp_path, builds, monkeypatch):
    rng = np.random.default_rng(0)
    living, memories = indexed(tmp_path, rng)
    monkeypatch.setattr(living_module, "_LARGE", 10)
    old, expected = living.snapshot(), list(memories)
    builds.clear()
    new = random_memories(rng, 204, 8, ties=False)
    add(living, new)
    now = living.snapshot()
    assert not builds and (len(now.base), len(now.tail), now.base.bank.index.ntotal) == (211, 0, 211)
    check(living, now, expected + new, rng, ties=False)
    check(living, old, expected, rng, ties=False)
    again = open_living(tmp_path / "m", [], index=IVF)
    assert not builds and len(again.snapshot().base) == 211


def test_an_index_that_too_few_memories_are_left_for_becomes_exact(tmp_path, monkeypatch, caplog):
    rng = np.random.default_rng(0)
    living, _ = indexed(tmp_path, rng)
    monkeypatch.setattr(living_module, "_LARGE", 10)
    for item in ITEMS:
        living.forget(item=item)
    new = random_memories(rng, 204, 2)
    add(living, new)
    living.compact()
    check(living, living.snapshot(), new, rng)
    assert "Until then the search is exact" in caplog.text


def test_an_impossible_index_is_a_clear_error_at_the_start(tmp_path):
    indexed(tmp_path, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="index_factory='NoSuchIndex'"):
        open_living(tmp_path / "m", [], index=IndexSettings("NoSuchIndex"))


def test_stories_with_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(living_module, "_LARGE", 8)
    rng = np.random.default_rng(3)
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        with closing(Story(folder, number, index=IndexSettings("IVF1,Flat", 1))) as story:
            for step in rng.integers(0, 10, 30).tolist():
                story.step(step)
