"""Bad input and bad files: the durable store says what is wrong, and nothing changes."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval.rows import Mark, Rows
from recbole_raserec.retrieval.store import MemoryStore
from tests.retrieval.living import open_living
from tests.retrieval.stores import D, add, content, every_byte, new_store


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


@pytest.mark.parametrize("table", ["items", "owners"])
def test_a_memory_whose_token_is_lost_is_an_error_and_not_another_items(tmp_path, table):
    living = open_living(tmp_path / "m", [])
    living.add(np.ones((2, 3)), ["i1", "i2"], ["u1", "u2"], [1, 1], [0.0, 1.0])
    living.close()
    change(tmp_path / "m", f"DELETE FROM {table} WHERE number = 1")
    with pytest.raises(DataError, match=r"is damaged \(a token is missing\)"):
        open_living(tmp_path / "m", []).snapshot()


def test_what_a_reader_still_sees_is_told_and_is_gone_after_the_next_deletion(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("recbole_raserec.retrieval.database.WAIT", 0.02)
    store = new_store(tmp_path / "m")
    key = add(store, ["u"])[0].tobytes()
    add(store, ["v"], seed=1)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM memories").fetchone()
        assert store.forget(owner="u") == 1
        assert "still has deleted bytes: a reader is active" in caplog.text
        reader.execute("ROLLBACK")
    assert store.forget(owner="nobody") == 0
    assert key not in every_byte(tmp_path)
    assert [owner for _, owner, _ in content(store)] == ["v"]


def test_a_store_that_another_process_writes_for_too_long_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_raserec.retrieval.database.WAIT", 0.02)
    store = new_store(tmp_path / "m")
    add(store, ["u"])
    before = content(store)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="was in use by another process"):
            add(store, ["v"])
        writer.execute("ROLLBACK")
    assert content(store) == before
    add(store, ["v"])
    assert len(content(store)) == 2
