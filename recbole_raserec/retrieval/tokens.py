"""Tokens of items and owners: their numbers in the store, and the numbers of a recommender."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_raserec.errors import DataError
from recbole_raserec.retrieval.names import Names
from recbole_raserec.retrieval.rows import Changes

_HASH_BYTES = 3  # so few that the hash finds an owner's token, but does not identify a person


class Numbers:
    """The number in ``names`` of each number in the store."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._table = np.zeros(1, np.int32)  # 0 is nobody in both

    def learn(self, tokens: dict[int, str]) -> None:
        """Take in new tokens by their number in the store."""
        most = max(tokens, default=0)
        if most >= len(self._table):  # twice as many as needed, so that few additions copy the table
            self._table = np.r_[self._table, np.full(2 * most + 1 - len(self._table), -1, np.int32)]
        self._table[list(tokens)] = [self._names.add(token) for token in tokens.values()]

    def translate(self, numbers: np.ndarray, path: Path) -> np.ndarray:
        """[N] -> [N] numbers in ``names``. DataError if there is no token of that number."""
        known = numbers[(numbers >= 0) & (numbers < len(self._table))]
        if len(known) < len(numbers) or (len(known) and self._table[known].min() < 0):
            raise DataError("memory store", str(path), "is damaged (a token is missing)", "restore it from a copy")
        return self._table[numbers]


def columns_of(changes: Changes, numbers: tuple[Numbers, Numbers], path: Path) -> dict[str, np.ndarray]:
    """The new rows of ``changes``, with the recommender's ``numbers`` of items and of owners."""
    columns = dict(vars(changes.rows))
    for name, known, new in zip(("targets", "owners"), numbers, (changes.items, changes.owners)):
        known.learn(new)
        columns[name] = known.translate(columns[name], path)
    return columns


def read_tokens(connection: sqlite3.Connection, table: str, after: int) -> dict[int, str]:
    """The tokens of numbers > ``after``."""
    new = f"SELECT number, token FROM {table} WHERE number > ? AND token IS NOT NULL ORDER BY number"
    return dict(connection.execute(new, (after,)))


def find_number(connection: sqlite3.Connection, table: str, token: str, salt: bytes) -> int | None:
    """The number of a token, or None."""
    where, values = (
        ("token = ?", (token,)) if table == "items" else ("hash = ? AND token = ?", (_hash(token, salt), token))
    )
    found = connection.execute(f"SELECT number FROM {table} WHERE {where}", values).fetchone()
    return None if found is None else found[0]


def numbers_of(connection: sqlite3.Connection, table: str, tokens: Sequence[str | None], salt: bytes) -> np.ndarray:
    """[n] numbers of ``tokens``. A new token gets the next number; None has 0."""
    numbers: dict[str | None, int] = {None: 0}
    for token in tokens:
        if token is not None and token not in numbers:
            found = find_number(connection, table, token, salt)
            numbers[token] = insert_token(connection, table, token, salt) if found is None else found
    return np.array([numbers[token] for token in tokens], np.int64)


def check_room(connection: sqlite3.Connection, owners: Sequence[str | None], numbers: np.ndarray, most: int) -> None:
    """Raise DataError if a memory more for each of ``owners`` [n] makes any of them have more than ``most`` added ones.

    Parameters
    ----------
    numbers : [n] of the owners. All memories of nobody (None, 0) count together.
    """
    tokens = dict(zip(numbers.tolist(), owners))
    for number, more in zip(*(column.tolist() for column in np.unique(numbers, return_counts=True))):
        who, values = ("owner = ?", (number,)) if number else ("owner IS NULL", ())
        count = f"SELECT COUNT(*) FROM memories WHERE {who} AND added IS NOT NULL"
        has = connection.execute(count, values).fetchone()[0]
        if has + more > most:
            problem = f"has {has:,} added memories; with {more:,} more there would be too many"
            raise DataError(
                "owner", tokens[number], problem, f"an owner, and nobody too, may have {most:,}: forget some"
            )


def insert_token(connection: sqlite3.Connection, table: str, token: str, salt: bytes) -> int:
    """Append a token that is not in the table, and return its number."""
    if table == "items":
        cursor = connection.execute("INSERT INTO items(token) VALUES(?)", (token,))
    else:
        cursor = connection.execute("INSERT INTO owners(hash, token) VALUES(?, ?)", (_hash(token, salt), token))
    return int(cursor.lastrowid or 0)


def _hash(token: str, salt: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), key=salt, digest_size=_HASH_BYTES).digest(), "big")
