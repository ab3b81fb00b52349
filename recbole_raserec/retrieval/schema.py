"""The tables of a memory store, and how a store of the format before is brought to this one."""

from __future__ import annotations

import sqlite3

FORMAT = 2
APPLICATION = 0x52615365  # "RaSe" in SQLite's header
TABLES = """
CREATE TABLE meta(
  format INTEGER NOT NULL, width INTEGER NOT NULL, key_type TEXT NOT NULL, model TEXT NOT NULL,
  epoch INTEGER NOT NULL, generation INTEGER NOT NULL, salt BLOB NOT NULL, untidy INTEGER NOT NULL);
CREATE TABLE items(number INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE);
CREATE TABLE owners(number INTEGER PRIMARY KEY AUTOINCREMENT, hash INTEGER, token TEXT);
CREATE TABLE memories(
  id INTEGER PRIMARY KEY AUTOINCREMENT, target INTEGER, owner INTEGER, length INTEGER, time REAL, key BLOB,
  epoch INTEGER, added REAL, CHECK ((epoch IS NULL) = (key IS NOT NULL)));
"""
_ADDED = (
    "CREATE INDEX memories_added ON memories(added) WHERE added IS NOT NULL",
    "CREATE INDEX memories_of_nobody ON memories(id) WHERE owner IS NULL AND added IS NOT NULL",
)
INDEXES = f"""
CREATE INDEX owners_hash ON owners(hash) WHERE hash IS NOT NULL;
CREATE INDEX memories_target ON memories(target);
CREATE INDEX memories_owner ON memories(owner) WHERE owner IS NOT NULL;
CREATE INDEX memories_time ON memories(time) WHERE time IS NOT NULL;
CREATE INDEX memories_epoch ON memories(epoch) WHERE epoch IS NOT NULL;
{";".join(_ADDED)};
"""


def upgrade(connection: sqlite3.Connection) -> None:
    """Give a store of format 1 the times of addition. All memories that it has count as the model's own.

    No row is rewritten, so no copy of a key is left anywhere.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == 1:  # another process may have done it
            connection.execute("ALTER TABLE memories ADD COLUMN added REAL")
            for index in _ADDED:
                connection.execute(index)
            connection.execute("UPDATE meta SET format = 2")
            connection.execute("PRAGMA user_version = 2")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
