"""The SQL of deletions: rows of memories are emptied where they are, and their tokens with the last of them."""

from __future__ import annotations

import sqlite3
from typing import Any


def empty(connection: sqlite3.Connection, where: str, value: Any, epoch: int) -> int:
    """Empty the memories ``where`` a column compares with ``value``, as deletion number ``epoch``. How many?

    An owner or an item without memories loses the token.
    """
    owners, items = (
        set(connection.execute(f"SELECT {column} FROM memories WHERE {where}", (value,)))
        for column in ("owner", "target")
    )
    count = connection.execute(
        "UPDATE memories SET target = NULL, owner = NULL, length = NULL, time = NULL, key = NULL, added = NULL, "
        f"epoch = ? WHERE {where}",
        (epoch, value),
    ).rowcount
    connection.executemany(
        "UPDATE owners SET hash = NULL, token = NULL "
        "WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM memories WHERE owner = ?1)",
        owners,
    )
    connection.executemany(
        "DELETE FROM items WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM memories WHERE target = ?1)", items
    )
    if count:
        connection.execute("UPDATE meta SET epoch = ?", (epoch,))
    return count


def remove_empty(connection: sqlite3.Connection) -> None:
    """Remove what deletions left. Readers begin anew, and the file is untidy until it is written anew."""
    connection.execute("DELETE FROM memories WHERE epoch IS NOT NULL")
    connection.execute("DELETE FROM owners WHERE token IS NULL")
    connection.execute("UPDATE meta SET generation = generation + 1, untidy = 1")
