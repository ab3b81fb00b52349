"""The durable memories: one SQLite file, to which many processes add memories, and from which they delete them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import numpy as np

from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval.database import Database
from recbole_raserec.retrieval.deletion import empty, remove_empty
from recbole_raserec.retrieval.rows import Changes, Mark, Rows, insert_rows, key_bytes, last_number, read_rows
from recbole_raserec.retrieval.schema import FORMAT
from recbole_raserec.retrieval.tokens import check_room, find_number, insert_token, numbers_of, read_tokens


class MemoryStore:
    """The memories in the file ``path``.

    Every method may raise the errors of :class:`~recbole_raserec.retrieval.database.Database`. Threads and processes
    may use the same file at once. After a change returned, it survives a crash.

    Parameters
    ----------
    path : SQLite file. It need not exist yet.
    width : D, the length of a key.
    model : digest of the backbone that made the keys.

    Attributes
    ----------
    writing, reading : locks of this process's threads. Whoever needs both takes ``writing`` first.
    """

    def __init__(self, path: str | Path, width: int, model: str) -> None:
        self.path, self.width, self.model = Path(path).absolute(), width, model
        self._database, self._reader = Database(self.path), Database(self.path, reads=True)
        self.writing, self.reading = self._database.lock, self._reader.lock

    @property
    def index_path(self) -> Path:
        """File for an index of the keys. A deletion removes it, with what is named after it."""
        return self._database.index_path

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def create(self, rows: Rows, items: Sequence[str], owners: Sequence[str], key_type: str = "float32") -> bool:
        """Create the file with ``rows``, unless another process does so first: then return False.

        ``rows.targets`` and ``rows.owners`` count ``items`` and ``owners`` from 1. Ids become 1 to N.

        Raises
        ------
        ConfigError : ``key_type`` is neither float32 nor float16, or a key does not fit it.
        """
        if key_type not in ("float32", "float16"):
            raise ConfigError("key_type", key_type, "is not a type of keys", "use float32 or float16")
        keys = key_bytes(rows.keys, key_type)

        def fill(connection: sqlite3.Connection) -> None:
            salt = os.urandom(16)
            meta = (FORMAT, self.width, key_type, self.model, 0, 0, salt, 0)
            connection.execute("INSERT INTO meta VALUES(?, ?, ?, ?, ?, ?, ?, ?)", meta)
            for table, tokens in (("items", items), ("owners", owners)):
                for token in tokens:
                    insert_token(connection, table, token, salt)
            insert_rows(connection, rows, keys)

        return self._database.create(fill)

    def add(
        self,
        keys: np.ndarray,
        targets: Sequence[str],
        owners: Sequence[str | None],
        lengths: Sequence[int] | np.ndarray,
        times: Sequence[float | None] | np.ndarray,
        added: float | None = None,
        most: int = 0,
    ) -> np.ndarray:
        """Add n memories: all, or none if there is an error.

        Parameters
        ----------
        keys : [n, D] finite numbers.
        targets, owners : [n] tokens. An owner may be None.
        lengths : [n] number of items in each prefix, at least 0.
        times : [n] seconds or any other scale; NaN and None are unknown.
        added : seconds since 1970, when this was; by default now.
        most : added memories that an owner may have, and nobody too; 0 is any number.

        Returns
        -------
        [n] int64 ids, rising, never used before and never again.

        Raises
        ------
        ConfigError : the columns do not fit one another or the store, or a value is out of range.
        DataError : an owner would have more than ``most``.
        """
        rows = Rows.checked(keys, targets, owners, lengths, times, self.width)
        rows.added[:] = time.time() if added is None else added
        if not len(rows):
            return rows.ids
        with self._changing() as connection:
            meta = self._meta(connection)
            item, owner = (numbers_of(connection, *of, meta["salt"]) for of in (("items", targets), ("owners", owners)))
            if most:
                check_room(connection, owners, owner, most)
            insert_rows(connection, replace(rows, targets=item, owners=owner), key_bytes(rows.keys, meta["key_type"]))
            last = last_number(connection, "memories")
        return np.arange(last - len(rows) + 1, last + 1)

    def forget(self, owner: str | None = None, item: str | None = None, added_since: float | None = None) -> int:
        """Delete an owner's memories, or those whose target is an item, or those added at a time or later; how many?

        The model's own memories were never added, so ``added_since`` leaves them.

        The bytes of the keys and the token of an owner without memories are overwritten, in the log also.

        Raises
        ------
        ConfigError : not exactly one of the three is given, or the time is NaN.
        """
        given = [value for value in (owner, item, added_since) if value is not None]
        if len(given) != 1:
            problem = "needs one of an owner, an item and a time of addition"
            raise ConfigError("forget", given or None, problem, "give one of them")
        if added_since is not None:
            return self._delete_by("added >= ?", "added_since", added_since)
        table, column, token = ("owners", "owner", owner) if item is None else ("items", "target", item)
        assert token is not None
        return self._delete(f"{column} = ?", lambda connection, salt: find_number(connection, table, token, salt))

    def expire(self, before: float) -> int:
        """Delete the memories with time < ``before``, and return how many there were. Those of unknown time stay."""
        return self._delete_by("time < ?", "before", before)

    def compact(self) -> None:
        """Remove what deletions left, and write the file anew. Other readers will read all of it again."""
        with self._changing() as connection:
            self._meta(connection)
            remove_empty(connection)
            self._database.remove_copies()
        self._tidy()

    def changes(self, mark: Mark) -> Changes:
        """All that was written since ``mark``; ``Mark()`` reads the whole store.

        Raises
        ------
        DataError : the file is damaged.
        """
        with self._reader.reading() as connection:
            meta, place = self._meta(connection), self._reader.place
            last = {name: last_number(connection, name) for name in ("memories", "items", "owners")}
            is_newer = last["memories"] < mark.id or meta["epoch"] < mark.epoch  # than a copy that was restored
            afresh = is_newer or (mark.generation, mark.place) != (meta["generation"], place)
            since = Mark() if afresh else mark
            rows = read_rows(connection, since.id, self.width, meta["key_type"], str(self.path))
            items, owners = (read_tokens(connection, *of) for of in (("items", since.item), ("owners", since.owner)))
            dead = connection.execute("SELECT id FROM memories WHERE epoch > ?", (since.epoch,)).fetchall()
        end = Mark(last["memories"], last["items"], last["owners"], meta["epoch"], meta["generation"], place)
        return Changes(end, afresh, rows, np.sort(np.array(dead, np.int64).reshape(-1)), items, owners)

    def version(self) -> tuple[int, int]:
        """A value that differs after another process, or another object, has changed the store."""
        with self._reader.connected() as connection:
            return self._reader.serial, connection.execute("PRAGMA data_version").fetchone()[0]

    def finish(self) -> None:
        """Finish what a killed process began: a deletion in the log, or the upgrade of an older format."""
        with self._database.connected():
            pass

    def place(self) -> int:
        """Which file of the disk is the store."""
        with self._reader.connected():
            return self._reader.place

    def check_place(self) -> None:
        """Raise DataError if the open file is no longer the one at the path."""
        for database in (self._database, self._reader):
            database.check_place()

    @contextmanager
    def still(self, mark: Mark) -> Iterator[bool]:
        """A context in which nobody writes. Its value is whether nothing was deleted since ``mark``."""
        with self._changing() as connection:
            meta = self._meta(connection)
            yield (meta["epoch"], meta["generation"]) == (mark.epoch, mark.generation)

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._database.close()
        self._reader.close()

    def _delete_by(self, where: str, name: str, value: float) -> int:
        if np.isnan(value):
            raise ConfigError(name, value, "is not a time", "give a number")
        return self._delete(where, lambda connection, salt: float(value))

    def _delete(self, where: str, find: Callable[[sqlite3.Connection, bytes], Any]) -> int:
        """Empty the rows ``where`` a column compares with what ``find`` returns; None finds nothing."""
        with self._changing() as connection:
            meta = self._meta(connection)
            value = find(connection, meta["salt"])
            count = 0 if value is None else empty(connection, where, value, meta["epoch"] + 1)
            if count:
                self._database.remove_copies()  # before the COMMIT, because the process may be killed after it
        if meta["untidy"]:
            self._tidy()
        self._database.wipe()  # also after nothing was found: an earlier deletion may have been cut short here
        return count

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        self._reader.check_place()  # what is written into another file would not be read
        with self._database.writing() as connection:
            yield connection

    def _tidy(self) -> None:
        """Write the file anew, without the copies of rows that SQLite left where it moved them."""
        with self._database.connected() as connection:
            connection.execute("VACUUM")
            connection.execute("UPDATE meta SET untidy = 0")
        self._database.wipe()

    def _meta(self, connection: sqlite3.Connection) -> dict[str, Any]:
        """The store's properties, which must be those of this object."""
        cursor = connection.execute("SELECT * FROM meta")
        row = cursor.fetchone()
        if row is None:
            raise DataError("memory store", str(self.path), "has no properties", "restore it from a copy")
        meta = {column[0]: value for column, value in zip(cursor.description, row)}
        if meta["width"] != self.width:
            problem = f"has keys of width {meta['width']}, and this model makes keys of width {self.width}"
            raise ConfigError("memory store", str(self.path), problem, "give the path of another store")
        if meta["model"] != self.model:
            problem = "has keys of another backbone, which are not comparable"
            raise ConfigError("memory store", str(self.path), problem, "give the path of another store")
        return meta
