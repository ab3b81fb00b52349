"""A living memory in tests, and brute force over what it should hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recbole_raserec.retrieval.living import LivingMemory
from recbole_raserec.retrieval.memory import MemoryBank, normalise
from recbole_raserec.retrieval.names import Names
from recbole_raserec.retrieval.neighbours import NO_MEMORY
from recbole_raserec.retrieval.snapshot import Snapshot

D = 3
ITEMS, OWNERS = [f"i{n}" for n in range(6)], [f"u{n}" for n in range(4)]


@dataclass(frozen=True)
class Memory:
    """One memory as it should be."""

    id: int
    key: tuple[float, ...]
    target: str
    owner: str | None
    length: int
    time: float | None


def names(tokens: list[str]) -> Names:
    return Names(["[PAD]", *tokens])


def vectors(rng: np.random.Generator, n: int, ties: bool) -> np.ndarray:
    """[n, D] vectors. With ``ties`` few of them differ, so that many memories are equally near."""
    return (rng.integers(-1, 2, (n, D)) if ties else rng.normal(size=(n, D))).astype(np.float32)


def random_memories(rng: np.random.Generator, first: int, n: int, ties: bool = True) -> list[Memory]:
    return [
        Memory(
            first + j,
            tuple(vectors(rng, 1, ties)[0].tolist()),
            str(rng.choice(ITEMS)),
            None if rng.random() < 0.3 else str(rng.choice(OWNERS)),
            int(rng.integers(0, 6)),
            None if rng.random() < 0.3 else float(rng.integers(0, 8)),
        )
        for j in range(n)
    ]


def open_living(path: Path, initial: list[Memory], known: int = 3, **more) -> LivingMemory:
    """A living memory over ``initial``, whose owners are of the first ``known``."""
    items, owners = names(ITEMS), names(OWNERS[:known])
    bank = MemoryBank(
        np.array([m.key for m in initial], np.float32).reshape(-1, D),
        np.array([items.find(m.target) for m in initial], int),
        np.array([0 if m.owner is None else owners.add(m.owner) for m in initial], int),
        np.array([m.length for m in initial], int),
        np.array([m.time for m in initial], float),
    )
    return LivingMemory(bank, items, owners, path, "model", **more)


def add(living: LivingMemory, new: list[Memory]) -> None:
    keys = np.array([m.key for m in new]).reshape(-1, D)
    ids = living.add(
        keys, [m.target for m in new], [m.owner for m in new], [m.length for m in new], [m.time for m in new]
    )
    assert ids.tolist() == [m.id for m in new]


def check(
    living: LivingMemory, snapshot: Snapshot, expected: list[Memory], rng: np.random.Generator, ties: bool = True
) -> None:
    """The snapshot answers as brute force over ``expected``, and its rows have the right content."""
    assert len(snapshot) == len(expected)
    queries = vectors(rng, 2, ties)
    asked = [None if rng.random() < 0.3 else str(rng.choice(OWNERS)) for _ in queries]
    numbers = [-1 if owner is None else (living.owners.find(owner) or -1) for owner in asked]
    lengths, k = rng.integers(0, 7, 2), int(rng.integers(1, 8))
    found = snapshot.search(queries, np.array(numbers), lengths, k)
    assert found.dtype == np.int32 and found.shape == (2, k)
    rows = np.unique(found[found != NO_MEMORY])
    seen = dict(zip(rows.tolist(), content(living, snapshot, rows)))
    keys = normalise(np.array([m.key for m in expected], np.float32).reshape(-1, D)).astype(float)
    for query, owner, length, rows in zip(normalise(queries), asked, lengths, found):
        cosine = (keys @ query.astype(float)).astype(np.float32)
        allowed = [
            n
            for n, m in enumerate(expected)
            if m.owner is None or owner is None or m.owner != owner or m.length < length
        ]
        best = sorted(allowed, key=lambda n: -cosine[n])[:k]
        assert [seen[row] for row in rows.tolist() if row != NO_MEMORY] == [expected[n] for n in best]
        assert (rows[len(best) :] == NO_MEMORY).all()


def content(living: LivingMemory, snapshot: Snapshot, rows: np.ndarray) -> list[Memory]:
    """What the snapshot says of each of ``rows``."""
    keys = snapshot.neighbours(torch.from_numpy(rows)[None]).vectors[0].tolist()
    columns = [getattr(snapshot, name)(rows).tolist() for name in ("ids", "targets", "owners", "lengths", "times")]
    return [
        Memory(
            number,
            tuple(key),
            living.items.tokens[target],
            living.owners.tokens[owner] if owner else None,
            length,
            None if np.isnan(time) else time,
        )
        for key, number, target, owner, length, time in zip(keys, *columns)
    ]
