"""Memories as columns: checked, written to SQLite and read from it without a list of all rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_raserec.errors import ConfigError, DataError

_BLOCK = 2**15  # rows that are read at once
_LONGEST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Rows:
    """N memories in the order of their ids.

    Attributes
    ----------
    ids : [N] int64.
    targets, owners : [N] int32 numbers of tokens in the store; 0 is no owner.
    lengths : [N] int32 number of items in each prefix.
    times : [N] float64, NaN if unknown.
    keys : [N, D] float32.
    added : [N] float64 seconds since 1970 when it was added, NaN for the model's own memories.
    """

    ids: np.ndarray
    targets: np.ndarray
    owners: np.ndarray
    lengths: np.ndarray
    times: np.ndarray
    keys: np.ndarray
    added: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls, size: int, width: int) -> Rows:
        """Room for ``size`` memories."""
        ids, times, keys = np.empty(size, np.int64), np.empty(size), np.empty((size, width), np.float32)
        targets, owners, lengths = (np.empty(size, np.int32) for _ in range(3))
        return cls(ids, targets, owners, lengths, times, keys, np.full(size, np.nan))

    @classmethod
    def checked(
        cls,
        keys: Any,
        targets: Sequence[str],
        owners: Sequence[str | None],
        lengths: Any,
        times: Any,
        width: int,
    ) -> Rows:
        """New memories, without numbers of tokens yet. ConfigError if they do not fit one another or are impossible."""
        rows = cls.empty(len(targets), width)
        found = {"owners": len(owners), "lengths": np.shape(lengths), "times": np.shape(times), "keys": np.shape(keys)}
        n = len(targets)
        needed = {"owners": n, "lengths": (n,), "times": (n,), "keys": (n, width)}
        for name, shape in needed.items():
            if found[name] != shape:
                raise ConfigError(
                    name, found[name], f"is the shape, and {shape} is needed", "give one of each a memory"
                )
        _check_tokens("targets", targets)
        _check_tokens("owners", [owner for owner in owners if owner is not None])
        with np.errstate(over="ignore"):  # infinite keys are refused later
            rows.keys[:], rows.times[:] = keys, np.asarray(times, np.float64)
        count = np.asarray(lengths)
        if n and (count.dtype.kind not in "iu" or count.min() < 0 or count.max() > _LONGEST):
            raise ConfigError("lengths", lengths, "are not numbers of items", f"give integers from 0 to {_LONGEST}")
        rows.lengths[:] = count
        if np.isinf(rows.times).any():
            raise ConfigError("times", None, "are infinite", "give finite numbers, or NaN if unknown")
        return rows


@dataclass(frozen=True)
class Mark:
    """How far a reader has read: the last id, item, owner and deletion, of which compaction and which file."""

    id: int = 0
    item: int = 0
    owner: int = 0
    epoch: int = 0
    generation: int = -1
    place: int = 0


@dataclass(frozen=True)
class Changes:
    """What is new since a mark.

    Attributes
    ----------
    mark : where this reading ends.
    afresh : whether this is the whole store, because it was compacted, replaced or restored since the mark.
    rows : new memories.
    dead : [M] ids of deleted memories.
    items, owners : new tokens by number.
    """

    mark: Mark
    afresh: bool
    rows: Rows
    dead: np.ndarray
    items: dict[int, str]
    owners: dict[int, str]


def _check_tokens(name: str, tokens: Sequence[Any]) -> None:
    for token in tokens:
        if not isinstance(token, str) or not token:
            raise ConfigError(name, token, "is not a token", "give a text that is not empty")
        try:
            token.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(name, token, "is not valid Unicode", "give a text without lone surrogates") from error


def key_bytes(keys: np.ndarray, key_type: str) -> Iterator[memoryview]:
    """The bytes of each of ``keys`` [N, D]. ConfigError if a number is not finite or too large for ``key_type``."""
    with np.errstate(over="ignore"):
        packed = np.ascontiguousarray(keys, dtype=key_type)
    if not np.isfinite(packed).all():
        raise ConfigError("keys", None, f"are not finite as {key_type}", "give keys of an encoder without NaN")
    return (row.data for row in packed.view(np.uint8).reshape(len(packed), -1)) if len(packed) else iter(())


def insert_rows(connection: sqlite3.Connection, rows: Rows, keys: Iterable[memoryview]) -> None:
    """Append ``rows``. Their numbers of tokens are in the tables already."""
    columns = (rows.targets, rows.owners, rows.lengths, rows.times, rows.added)
    connection.executemany(
        "INSERT INTO memories(target, owner, length, time, added, key) "
        "VALUES(?, NULLIF(?, 0), ?, ?, ?, ?)",  # NaN becomes NULL
        zip(*(_numbers(column) for column in columns), keys),
    )


def _numbers(column: np.ndarray) -> Iterator[Any]:
    for start in range(0, len(column), _BLOCK):
        yield from column[start : start + _BLOCK].tolist()


def read_rows(connection: sqlite3.Connection, after: int, width: int, key_type: str, path: str) -> Rows:
    """The memories with an id > ``after``. DataError if the file is damaged."""
    room = last_number(connection, "memories") - after
    if after == 0:  # after a compaction there are fewer rows than ids
        room = connection.execute("SELECT COUNT(*) FROM memories").fetchone()[0]
    rows, done = Rows.empty(room, width), 0
    of = rows.ids, rows.targets, rows.owners, rows.lengths, rows.times, rows.added
    cursor = connection.execute(
        "SELECT id, target, IFNULL(owner, 0), length, time, added, key FROM memories "
        "WHERE id > ? AND epoch IS NULL ORDER BY id",
        (after,),
    )
    try:
        while block := cursor.fetchmany(_BLOCK):
            *columns, keys = zip(*block)
            end = done + len(block)
            for column, values in zip(of, columns):
                column[done:end] = values
            rows.keys[done:end] = np.frombuffer(b"".join(keys), key_type).reshape(-1, width)
            done = end
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError("memory store", path, f"is damaged ({error})", "restore it from a copy") from error
    return Rows(*(column[:done] for column in vars(rows).values()))


def last_number(connection: sqlite3.Connection, table: str) -> int:
    """The highest number that a row of ``table`` has had."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 0 if found is None else int(found[0])
