"""The SQLite file of a memory store: its tables, its creation, a connection to it, and its errors.

SQLite's ``secure_delete`` is not enough to delete bytes. When SQLite moves a row to another page, it may leave a copy
in the free part of the old page, and a later deletion does not overwrite that copy. So no row with a key or an owner's
token is ever moved: rows are only appended, and a deletion empties the row where it is. Only ``compact`` removes the
empty rows, and VACUUM then writes the whole file anew. Foreign keys would delete and insert the row, so there are none.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable
from urllib.parse import quote

from recbole_raserec.errors import DataError
from recbole_raserec.retrieval.schema import APPLICATION, FORMAT, INDEXES, TABLES, upgrade
from recbole_raserec.retrieval.sqlite_errors import WAIT, explain
from recbole_raserec.runtime.files import sync


class Database:
    """A connection to a store's file. Threads that share it wait for one another; so do processes' writers.

    Before a fork the connection is closed, because SQLite's locks do not survive it. It is opened again on demand.

    Parameters
    ----------
    reads : it only reads, and so it waits for no writer.

    Attributes
    ----------
    lock : held during each transaction. Whoever holds it is not cut in two by a fork.
    serial : number of the connection. It rises each time that the file is opened.
    place : which file of the disk is open, or was last.
    born : number of this object. Whoever takes the locks of several takes them in this order.
    """

    def __init__(self, path: Path, reads: bool = False) -> None:
        self.path, self.lock, self.serial = path, threading.RLock(), 0
        self._reads = reads
        self.place, self.born = 0, next(_BIRTHS)
        self._connection: sqlite3.Connection | None = None
        _DATABASES.add(self)

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """The open connection, in no transaction.

        Raises
        ------
        ConfigError : the disk is full, or the file cannot be opened, or written, or is in use for minutes.
        DataError : the file is damaged or no memory store of this version.
        """
        with self.lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise explain(self.path, error) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the store as it is now, whatever others write. Errors as in :meth:`connected`."""
        with self.connected() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection of the only writer. All is written durably at the end, or nothing. Errors as above."""
        with self.connected() as connection:
            self.check_place()
            if not os.stat(self.path).st_mode & 0o222:  # root could write, but the owner forbids it
                raise sqlite3.OperationalError("readonly")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def create(self, fill: Callable[[sqlite3.Connection], None]) -> bool:
        """Create the file with what ``fill`` writes. Of several creators one wins, and the others return False."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.lock, _only_creator(self.path.parent):
                if self.path.exists():
                    return False
                self._remove_draft()  # of a creator that was killed
                try:
                    self._draft(fill)
                    os.rename(self._draft_path, self.path)
                finally:
                    self._remove_draft()
                sync(self.path.parent)
                return True
        except (sqlite3.Error, OSError) as error:
            raise explain(self.path, error) from error

    def remove_copies(self) -> None:
        """Remove all files with keys except the store: indexes, also unfinished ones, and a killed creator's draft."""
        self._remove_draft()  # nobody creates while the store exists
        name = self.index_path.name
        for path in list(self.path.parent.iterdir()):
            if path.name in (name, f"{name}.json") or path.name.startswith(f".{name}."):
                path.unlink(missing_ok=True)

    def wipe(self) -> None:
        """Empty the write-ahead log, so that what was deleted from the file is not left in the log either."""
        end = time.monotonic() + WAIT
        with self.connected() as connection:
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > end:
                    logging.getLogger().warning(f"{self.path}-wal still has deleted bytes: a reader is active")
                    return
                time.sleep(0.005)  # SQLite waits for readers, but not for another process that empties the log

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock:
            if self._connection is not None and not self._connection.in_transaction:
                self._connection.close()
                self._connection = None

    @property
    def index_path(self) -> Path:
        """File for an index of the keys."""
        return self.path.with_name(f"{self.path.name}.index")

    def _remove_draft(self) -> None:
        for end in ("", "-journal", "-wal", "-shm"):
            Path(f"{self._draft_path}{end}").unlink(missing_ok=True)

    @property
    def _draft_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.new")

    def _draft(self, fill: Callable[[sqlite3.Connection], None]) -> None:
        connection = sqlite3.connect(self._draft_path, isolation_level=None)
        try:
            connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {TABLES}")
            connection.execute("BEGIN")
            fill(connection)
            connection.execute("COMMIT")
            connection.executescript(INDEXES)
            connection.executescript(f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={FORMAT};")
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        sync(self._draft_path)

    def _connect(self) -> sqlite3.Connection:
        self.place = os.stat(self.path).st_ino
        address = f"file:{quote(str(self.path.absolute()))}?mode=rw"  # never creates the file
        connection = sqlite3.connect(address, WAIT, isolation_level=None, check_same_thread=False, uri=True)
        try:
            found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            if found[0] != APPLICATION:
                raise DataError("memory store", str(self.path), "is another program's file", "give another path")
            if found[1] not in (1, FORMAT):
                problem = f"has format {found[1]}, and this version reads format {FORMAT}"
                raise DataError("memory store", str(self.path), problem, "use the version that wrote it")
            connection.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA busy_timeout=1000;"
            )
            if not self._reads:  # for a process that was killed after a deletion
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute(f"PRAGMA busy_timeout={1000 * WAIT:.0f}")
            if found[1] == 1:
                upgrade(connection)
        except BaseException:
            connection.close()
            raise
        self.serial += 1
        return connection

    def check_place(self) -> None:
        """The file of the connection must still be the file at the path, or all that is written would be lost."""
        if self._connection is None:
            return
        there = os.stat(self.path).st_ino if self.path.exists() else None
        if there != self.place:
            problem = "was removed or replaced while it was open"
            mend = "stop all programs that use it, remove its -wal and -shm files, put it there again, and start them"
            raise DataError("memory store", str(self.path), problem, mend)


@contextmanager
def _only_creator(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``. It ends with the process, also when that is killed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


_BIRTHS = itertools.count()
_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()
_held: list[list[Database]] = []


def _before_fork() -> None:
    databases = sorted(_DATABASES, key=lambda database: database.born)
    for database in databases:
        database.lock.acquire()
        database.close()
    _held.append(databases)


def _after_fork() -> None:
    for database in _held.pop():
        database.lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
