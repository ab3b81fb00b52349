"""The durable store: what is acknowledged stays, what is forgotten is in no file, and bad input changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kills import kill_often
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval import rows as rows_module
from recbole_raserec.retrieval.rows import Mark, Rows
from recbole_raserec.retrieval.store import MemoryStore

D = 8
FORK = multiprocessing.get_context("fork")


def new_store(path: Path, key_type: str = "float32", width: int = D) -> MemoryStore:
    store = MemoryStore(path, width, "model")
    assert store.create(Rows.empty(0, width), [], [], key_type)
    return store


def add(store: MemoryStore, owners: Sequence[str | None], seed: int = 0, **more) -> np.ndarray:
    """Add a memory for each of ``owners``, and return the keys."""
    rng, n = np.random.default_rng(seed), len(owners)
    keys = rng.normal(size=(n, store.width)).astype(np.float32)
    columns = {"targets": [f"i{j % 5}" for j in range(n)], "lengths": np.arange(n), "times": np.arange(n) + 0.5}
    columns.update(more)
    store.add(columns.pop("keys", keys), columns["targets"], owners, columns["lengths"], columns["times"])
    return keys


def content(store: MemoryStore) -> list[tuple]:
    """id, owner and key of all memories, read anew."""
    with closing(MemoryStore(store.path, store.width, store.model)) as fresh:
        found = fresh.changes(Mark())
    names = [None if n == 0 else found.owners[n] for n in found.rows.owners.tolist()]
    return [(*row[:2], row[2].tobytes()) for row in zip(found.rows.ids.tolist(), names, found.rows.keys)]


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


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


# -- several writers -------------------------------------------------------------------------------------------------


def in_processes(work, count: int) -> None:
    """Call ``work(n)`` in processes that begin at once."""
    barrier = FORK.Barrier(count)

    def run(n: int) -> None:
        barrier.wait()
        work(n)

    children = [FORK.Process(target=run, args=(n,)) for n in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * count


def write_batches(store: MemoryStore, n: int) -> None:
    for batch in range(8):
        add(store, [f"{n}-{batch}"] * 5, seed=n)


def test_of_creators_at_once_one_wins_and_nobody_loses_memories(tmp_path):
    def create_and_add(n: int) -> None:
        store = MemoryStore(tmp_path / "m", D, "model")
        first = Rows(
            np.ones(1),
            np.ones(1, int),
            np.ones(1, int),
            np.ones(1, int),
            np.zeros(1),
            np.ones((1, D)),
            np.full(1, np.nan),
        )
        store.create(first, ["i"], [f"creator {n}"])
        write_batches(store, n)

    in_processes(create_and_add, 4)
    found = [row[1] for row in content(MemoryStore(tmp_path / "m", D, "model"))]
    assert found[0].startswith("creator") and sum(owner.startswith("creator") for owner in found) == 1
    assert sorted(found[1:]) == sorted(f"{n}-{batch}" for n in range(4) for batch in range(8) for _ in range(5))
    assert [path.name for path in tmp_path.glob("*new*")] == []


def test_processes_forked_from_an_open_store_lose_nothing(tmp_path):
    store = new_store(tmp_path / "m")
    add(store, ["parent"])
    in_processes(lambda n: write_batches(store, n), 2)
    add(store, ["parent"])
    assert len(content(store)) == 2 + 2 * 8 * 5


def test_no_connection_survives_a_fork(tmp_path):
    """SQLite's locks do not. A child with a copy of the connection could write to a log that the parent removes."""
    store = new_store(tmp_path / "m")
    add(store, ["u"])

    def look(n: int) -> None:
        assert store._database._connection is None
        store.changes(Mark())

    in_processes(look, 1)
    assert store._database._connection is None
    assert len(content(store)) == 1


def test_a_fork_waits_for_a_change_and_the_child_can_change(tmp_path):
    store, inside, go_on = new_store(tmp_path / "m"), threading.Event(), threading.Event()

    def change() -> None:
        with store.writing:
            inside.set()
            go_on.wait()
            add(store, ["thread"])

    thread = threading.Thread(target=change)
    thread.start()
    inside.wait()
    child = FORK.Process(target=add, args=(store, ["child"]))
    forking = threading.Thread(target=child.start)
    forking.start()
    go_on.set()
    for each in (thread, forking, child):
        each.join()
    assert child.exitcode == 0 and [row[1] for row in content(store)] == ["thread", "child"]


def test_threads_share_a_store(tmp_path):
    store = new_store(tmp_path / "m")
    threads = [threading.Thread(target=write_batches, args=(store, n)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [row[0] for row in content(store)]
    assert ids == list(range(1, 3 * 8 * 5 + 1))


def test_a_draft_of_a_killed_creator_is_replaced(tmp_path):
    draft = tmp_path / ".m.new"
    draft.write_bytes(b"half a store")
    store = new_store(tmp_path / "m")
    add(store, ["u"])
    assert not draft.exists() and len(content(store)) == 1


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path):
    assert kill_often(tmp_path, 20, seed=1)["acknowledged add"]


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"keys": np.ones((2, D + 1))}, "keys"),
        ({"keys": np.full((2, D), np.nan)}, "keys"),
        ({"keys": np.full((2, D), 1e39)}, "keys"),
        ({"targets": ["i", ""]}, "targets"),
        ({"targets": ["i", 7]}, "targets"),
        ({"targets": ["i", "\ud800"]}, "targets"),
        ({"targets": ["i"]}, "owners"),
        ({"lengths": [1, -1]}, "lengths"),
        ({"lengths": [1, 2.5]}, "lengths"),
        ({"lengths": [1, 2**31]}, "lengths"),
        ({"lengths": [1]}, "lengths"),
        ({"times": [1.0, np.inf]}, "times"),
        ({"times": [1.0]}, "times"),
    ],
)
def test_impossible_memories_are_a_clear_error_and_none_is_added(tmp_path, wrong, field):
    store = new_store(tmp_path / "m")
    add(store, ["u"])
    before = content(store)
    with pytest.raises(ConfigError) as caught:
        add(store, ["u", "v"], **wrong)
    assert caught.value.field == field
    assert content(store) == before


def test_keys_that_half_precision_cannot_hold_are_an_error(tmp_path):
    store = new_store(tmp_path / "m", "float16")
    with pytest.raises(ConfigError, match="not finite as float16"):
        add(store, ["u"], keys=np.full((1, D), 7e4))


@pytest.mark.parametrize("given", [{}, {"owner": "u", "item": "i"}])
def test_to_forget_needs_an_owner_or_an_item(tmp_path, given):
    with pytest.raises(ConfigError, match="forget"):
        new_store(tmp_path / "m").forget(**given)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda path: path.write_bytes(b"not SQLite" * 1000), DataError, "is not a memory store"),
        (lambda path: path.write_bytes(b""), DataError, "another program's file"),
        (lambda path: change(path, "PRAGMA application_id=7"), DataError, "another program's file"),
        (
            lambda path: change(path, "PRAGMA user_version=9"),
            DataError,
            "has format 9, and this version reads format 2",
        ),
        (lambda path: change(path, "DELETE FROM meta"), DataError, "has no properties"),
        (lambda path: change(path, "DROP TABLE memories"), DataError, "is not a memory store of this version"),
        (lambda path: change(path, "UPDATE memories SET key = x'00'"), DataError, "is damaged"),
        (lambda path: change(path, "UPDATE memories SET length = 'x'"), DataError, "is damaged"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), DataError, "is damaged"),
        (lambda path: change(path, "UPDATE meta SET width = 99"), ConfigError, "keys of width 99"),
        (lambda path: change(path, "UPDATE meta SET model = 'b'"), ConfigError, "another backbone"),
    ],
)
def test_a_wrong_or_damaged_file_is_a_clear_error_and_stays_as_it_is(tmp_path, damage, kind, text):
    store = new_store(tmp_path / "m")
    add(store, ["u"] * 200)
    store.close()
    damage(store.path)
    before = store.path.read_bytes()
    with pytest.raises(kind, match=text) as caught:
        store.changes(Mark())
    assert (caught.value.field, caught.value.value) == ("memory store", str(store.path))
    if text != "is damaged":
        with pytest.raises(kind, match=text):
            add(store, ["v"])
    store.close()
    assert store.path.read_bytes() == before


def test_a_full_disk_is_a_clear_error_and_nothing_is_added(tmp_path):
    store = new_store(tmp_path / "m")
    add(store, ["u"])
    before = content(store)
    with store._database.connected() as connection:
        connection.execute("PRAGMA max_page_count=30")
    with pytest.raises(ConfigError, match="the disk is full"):
        add(store, ["u"] * 5000)
    assert content(store) == before
    store.close()
    add(store, ["u"])
    assert len(content(store)) == 2


def test_a_file_that_may_not_be_written_is_a_clear_error(tmp_path):
    store = new_store(tmp_path / "m")
    store.path.chmod(0o444)
    with pytest.raises(ConfigError, match="is read-only"):
        add(store, ["u"])
    assert store.changes(Mark()).mark.id == 0


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened or written"):
        new_store(tmp_path / "file" / "m")


def test_a_file_that_is_not_there_is_a_clear_error_and_is_not_made(tmp_path):
    with pytest.raises(ConfigError, match="memory store"):
        MemoryStore(tmp_path / "m", D, "model").changes(Mark())
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_replaced_gets_no_memories(tmp_path):
    store = new_store(tmp_path / "m")
    store.changes(Mark())
    store.path.unlink()
    other = new_store(tmp_path / "m")
    with pytest.raises(DataError, match="removed or replaced"):
        add(store, ["u"])
    assert content(other) == []


def test_a_creation_that_fails_leaves_nothing(tmp_path):
    store = MemoryStore(tmp_path / "m", D, "model")
    twice = ["i", "i"]  # items are unique
    with pytest.raises(DataError):
        store.create(Rows.empty(0, D), twice, [])
    with pytest.raises(ConfigError, match="key_type='int8'"):
        store.create(Rows.empty(0, D), [], [], "int8")
    assert not list(tmp_path.iterdir())
