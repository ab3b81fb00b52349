"""The index of a living memory, and the file that keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pytest

from recbole_raserec.errors import ConfigError
from recbole_raserec.retrieval import living as living_module
from recbole_raserec.retrieval.index_cache import IndexCache
from recbole_raserec.retrieval.living import IndexSettings, LivingMemory
from recbole_raserec.retrieval.memory import normalise
from tests.retrieval.living import ITEMS, Memory, add, check, open_living, random_memories

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


@pytest.mark.parametrize("field", ["model", "epoch", "generation", "factory", "recall", "faiss", "rows", "watermark"])
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


@pytest.mark.parametrize("factory", ["HNSW8", "SQ8", "PCA2,IVF4,Flat"])
def test_an_index_from_the_disk_grows_too(tmp_path, builds, monkeypatch, factory):
    rng = np.random.default_rng(0)
    memories = random_memories(rng, 1, 211, ties=False)
    settings = IndexSettings(factory, nprobe=4)
    add(open_living(tmp_path / "m", memories[:200], index=settings), memories[200:203])
    monkeypatch.setattr(living_module, "_LARGE", 10)
    again = open_living(tmp_path / "m", [], index=settings)
    assert len(again.snapshot().tail) == 3
    add(again, memories[203:])
    now = again.snapshot()
    assert (len(now.base), len(now.tail), now.base.bank.index.ntotal) == (211, 0, 211)


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
