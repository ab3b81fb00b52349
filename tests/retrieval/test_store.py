"""The durable store: what is acknowledged stays, and what is forgotten is in no file."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from recbole_raserec.retrieval import rows as rows_module
from recbole_raserec.retrieval.rows import Mark
from recbole_raserec.retrieval.store import MemoryStore
from tests.retrieval.stores import D, add, content, every_byte, new_store


def test_what_was_added_is_read_again_in_the_order_of_ids(tmp_path):
    store = new_store(tmp_path / "m")
    keys = np.arange(3 * D, dtype=np.float32).reshape(3, D)
    ids = store.add(keys, ["b", "a", "b"], ["u", None, "v"], [4, 0, 2], [1.5, None, np.nan])
    assert ids.tolist() == [1, 2, 3]
    found = store.changes(Mark())
    assert found.rows.ids.tolist() == [1, 2, 3] and np.array_equal(found.rows.keys, keys)
    assert (found.items, found.owners) == ({1: "b", 2: "a"}, {1: "u", 2: "v"})
    assert found.rows.targets.tolist() == [1, 2, 1] and found.rows.owners.tolist() == [1, 0, 2]
    assert found.rows.lengths.tolist() == [4, 0, 2]
    assert np.array_equal(found.rows.times, [1.5, np.nan, np.nan], equal_nan=True)
    assert found.rows.keys.dtype == np.float32 and found.rows.targets.dtype == np.int32


@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_do_not_change_what_is_read(tmp_path, monkeypatch, block):
    store = new_store(tmp_path / "m")
    keys = add(store, ["u"] * 10)
    monkeypatch.setattr(rows_module, "_BLOCK", block)
    assert np.array_equal(store.changes(Mark()).rows.keys, keys)


def test_a_reader_gets_only_what_is_new(tmp_path):
    store = new_store(tmp_path / "m")
    add(store, ["u", "v", "u"])
    mark = store.changes(Mark()).mark
    nothing = store.changes(mark)
    assert not len(nothing.rows) and not len(nothing.dead) and not nothing.afresh and not nothing.owners
    add(store, ["w"])
    assert store.forget(owner="u") == 2
    new = store.changes(mark)
    assert new.rows.ids.tolist() == [4] and new.dead.tolist() == [1, 3] and new.owners == {3: "w"}
    assert store.changes(new.mark).dead.tolist() == []


def test_compacting_begins_a_generation_and_reuses_no_id(tmp_path):
    store = new_store(tmp_path / "m")
    add(store, ["u", "v", "w"])
    mark = store.changes(Mark()).mark
    store.forget(owner="w")
    store.compact()
    found = store.changes(mark)
    assert found.afresh and found.rows.ids.tolist() == [1, 2] and not len(found.dead)
    with closing(MemoryStore(store.path, D, "model")) as fresh:
        assert fresh.add(np.ones((1, D)), ["i"], ["w"], [1], [0.0]).tolist() == [4]
    assert found.mark.generation == 1


def test_the_version_changes_with_anybodys_change(tmp_path):
    one = new_store(tmp_path / "m")
    other = MemoryStore(one.path, D, "model")
    other.changes(Mark())  # opening may count as a change
    versions = [one.version()]
    other.changes(Mark())
    assert one.version() == versions[0]
    for store in (one, other):
        add(store, ["u"])
        versions.append(one.version())
        assert one.version() == versions[-1]
    assert len(set(versions)) == 3


def test_expiry_takes_earlier_memories_and_leaves_those_of_unknown_time(tmp_path):
    store = new_store(tmp_path / "m")
    add(store, ["a", "b", "c", "d"], times=[1.0, 2.0, None, 3.0])
    assert store.expire(2.0) == 1
    assert [row[1] for row in content(store)] == ["b", "c", "d"]


def test_half_precision_halves_the_keys(tmp_path):
    store = new_store(tmp_path / "m", "float16")
    keys = add(store, ["u"] * 4)
    found = store.changes(Mark()).rows.keys
    assert np.array_equal(found, keys.astype(np.float16).astype(np.float32)) and not np.array_equal(found, keys)
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT DISTINCT length(key) FROM memories").fetchall() == [(2 * D,)]


@pytest.mark.parametrize(("width", "key_type"), [(D, "float32"), (D, "float16"), (1200, "float32")])
def test_forgotten_keys_and_tokens_are_in_no_file(tmp_path, width, key_type):
    """SQLite leaves copies where it moves rows. There are enough rows and deletions here for many pages."""
    folder, rng = tmp_path / "folder", np.random.default_rng(1)
    store, secrets = new_store(folder / "m", key_type, width), {}
    for step in range(12):
        owners = [f"person-{step}-{n}-{'x' * (n % 30)}#" for n in range(20)]
        who = [owner for owner in owners for _ in range(rng.integers(1, 4))]
        for owner, key in zip(who, add(store, who, step)):
            secrets.setdefault(owner, []).append(key.astype(key_type).tobytes()[:16])
        for owner in rng.permutation(list(secrets))[:13]:
            keys = secrets.pop(owner)
            assert all(key in every_byte(folder) for key in keys)
            assert store.forget(owner=owner) == len(keys)
            bytes_ = every_byte(folder)
            assert owner.encode() not in bytes_
            assert not any(key in bytes_ for key in keys)
        if step == 7:
            store.compact()
    assert all(key in every_byte(folder) for keys in secrets.values() for key in keys)


def test_the_log_has_no_deleted_bytes_after_a_deletion_that_was_cut_short(tmp_path, monkeypatch):
    store = new_store(tmp_path / "folder" / "m")
    key = add(store, ["secret"])[0]
    monkeypatch.setattr(store._database, "wipe", lambda: None)  # as if killed after the COMMIT
    store.forget(owner="secret")
    assert key.tobytes() in every_byte(tmp_path / "folder")
    with closing(MemoryStore(store.path, D, "model")) as after:
        after.finish()
        assert key.tobytes() not in every_byte(tmp_path / "folder")


def test_a_compaction_that_was_cut_short_ends_at_the_next_deletion(tmp_path, monkeypatch):
    store = new_store(tmp_path / "m")
    add(store, ["a", "b"])
    store.forget(owner="a")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_tidy", lambda: None)  # as if killed before it
        store.compact()
    untidy = "SELECT untidy FROM meta"
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute(untidy).fetchone() == (1,)
        store.forget(owner="nobody")
        assert connection.execute(untidy).fetchone() == (0,)


def test_an_owner_without_memories_loses_the_token(tmp_path):
    store = new_store(tmp_path / "m")
    add(store, ["a", "b", "a"], targets=["x", "x", "y"])
    assert store.forget(item="x") == 2
    assert store.changes(Mark()).owners == {1: "a"}
    assert store.changes(Mark()).items == {2: "y"}
    add(store, ["a"], targets=["x"])
    assert store.changes(Mark()).items == {2: "y", 3: "x"}
    assert store.forget(owner="b") == 0 and store.forget(item="z") == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda store: add(store, ["u"] * 3, times=[0.1] * 3),
        lambda store: store.forget(owner="7"),
        lambda store: store.forget(item="rare"),
        lambda store: store.expire(0.6),
    ],
)
def test_a_change_and_its_reading_touch_few_rows_of_a_large_store(tmp_path, change):
    store = new_store(tmp_path / "m")
    add(store, [str(n % 2000) for n in range(20_000)])
    add(store, ["7"], targets=["rare"])
    mark, steps = store.changes(Mark()).mark, []
    with store._database.connected() as connection:
        connection.set_progress_handler(lambda: steps.append(1), 1000)  # called after each 1000 steps of SQLite
        change(store)
        new = store.changes(mark)
    assert 1 <= len(new.rows) + len(new.dead) <= 11 and len(steps) < 15
