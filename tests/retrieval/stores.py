"""A durable store in tests, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from recbole_raserec.retrieval.rows import Mark, Rows
from recbole_raserec.retrieval.store import MemoryStore

D = 8


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
