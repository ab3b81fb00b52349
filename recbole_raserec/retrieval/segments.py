"""Memories in main memory: segments that never change, and a tail that grows without copying them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import faiss
import numpy as np

from recbole_raserec.retrieval.memory import MemoryBank, normalise


@dataclass(frozen=True, eq=False)
class Segment:
    """N memories in the order of their ids.

    Attributes
    ----------
    bank : their keys, targets, owners, lengths and times, and the search.
    ids : [N] int64, rising.
    dead : [N] bool, which are deleted.
    added : [N] float64 seconds since 1970 when each was added, NaN for the model's own.
    """

    bank: MemoryBank
    ids: np.ndarray
    dead: np.ndarray
    added: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def deaths(self) -> int:
        """How many are deleted."""
        return int(np.count_nonzero(self.dead))

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Rows of those ``ids`` that are in this segment."""
        rows = np.searchsorted(self.ids, ids)
        return rows[self.ids[np.minimum(rows, len(self) - 1)] == ids] if len(self) else rows[:0]

    def without(self, rows: np.ndarray) -> Segment:
        """This segment, with ``rows`` deleted."""
        dead = self.dead.copy()
        dead[rows] = True
        return replace(self, dead=dead)

    def search(self, queries: np.ndarray, owners: np.ndarray, lengths: np.ndarray, k: int) -> np.ndarray:
        """[Q, k] rows, as :meth:`MemoryBank.search` without the deleted ones."""
        return self.bank.search(queries, owners, lengths, k, hidden=self.dead if self.deaths else None)

    def join(self, other: Segment) -> Segment:
        """The memories of both, also the deleted ones. The index is extended if there is one."""
        bank = self.bank.join(other.bank)
        if self.bank.has_index and len(self):
            with suppress(RuntimeError):  # FAISS cannot copy every kind; then the index is built anew
                index = faiss.clone_index(self.bank.index)  # readers still search the old one
                index.add(normalise(other.bank.keys))
                bank.take_index(index)
        columns = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _COLUMNS}
        return Segment(bank, **columns)

    def alive(self) -> Segment:
        """A copy without the deleted memories. Its index is built anew."""
        keep = ~self.dead
        columns: dict[str, Any] = {name: self.column(name)[keep] for name in _OF_BANK}
        bank = replace(self.bank, **columns)
        return Segment(bank, **{name: getattr(self, name)[keep] for name in _COLUMNS})

    def until(self, time: float) -> Segment:
        """This segment without the memories of a time > ``time``. Those of unknown time stay."""
        return replace(self, dead=self.dead | (self.bank.times > time))

    @cached_property
    def new(self) -> np.ndarray:
        """Rows of the added memories, also of deleted ones."""
        return np.flatnonzero(~np.isnan(self.added))

    def settled(self, time: float) -> Segment:
        """This segment without the memories that were added after ``time``."""
        late = self.added > time
        return replace(self, dead=self.dead | late) if late.any() else self

    def column(self, name: str) -> np.ndarray:
        """The column ``name`` of the bank or of this segment."""
        found: np.ndarray = getattr(self.bank if name in _OF_BANK else self, name)
        return found


_OF_BANK = ("keys", "targets", "owners", "lengths", "times")
_COLUMNS = ("ids", "dead", "added")
# A tail is written anew without its deleted memories if it has over 200 and fewer than half of them count.
_SPARSE, _FEW = 2, 100


def merged(base: Segment, tail: Segment, limit: float) -> Segment | None:
    """One segment of both if more than ``limit`` are deleted or in the tail; else None."""
    if base.deaths + tail.deaths > limit:
        return base.alive().join(tail.alive())
    return base.join(tail) if len(tail) > limit else None


def whole(bank: MemoryBank, ids: np.ndarray, added: np.ndarray | None = None) -> Segment:
    """A segment of memories of which none is deleted. By default they are the model's own."""
    return Segment(bank, ids, np.zeros(len(ids), bool), np.full(len(ids), np.nan) if added is None else added)


@dataclass(frozen=True)
class Scan:
    """FAISS's exact search over an array ``unit`` [N, D] of keys of length 1. An index would copy the array."""

    unit: np.ndarray

    def search(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """[Q, depth] cosines and rows, nearest first."""
        found: tuple[np.ndarray, np.ndarray] = faiss.knn(queries, self.unit, depth, metric=faiss.METRIC_INNER_PRODUCT)
        return found


@dataclass
class Tail:
    """The newest memories, to which more are appended. Its segments are views, because written rows do not change."""

    width: int
    size: int = 0
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def append(self, **columns: np.ndarray) -> None:
        """Append keys [n, D], targets, owners, lengths, times and ids [n]. The cost is amortised O(n)."""
        columns["unit"] = normalise(columns["keys"])
        columns["dead"] = np.zeros(len(columns["ids"]), bool)
        end = self.size + len(columns["ids"])
        for name, new in columns.items():
            room = self.columns.get(name)
            if room is None or len(room) < end:
                more = np.empty((max(2 * end, 256), *new.shape[1:]), new.dtype)
                if room is not None:
                    more[: self.size] = room[: self.size]
                self.columns[name] = room = more
            room[self.size : end] = new
        self.size = end

    def kill(self, ids: np.ndarray) -> None:
        """Delete the memories of ``ids``. Segments that were taken before keep them."""
        rows = self.segment().find(ids)
        if not len(rows):
            return
        self.columns["dead"] = self.columns["dead"].copy()
        self.columns["dead"][rows] = True
        alive = ~self.columns["dead"][: self.size]
        if self.size > _SPARSE * max(_FEW, np.count_nonzero(alive)):  # a search would go through all the deleted ones
            self.columns = {name: column[: self.size][alive] for name, column in self.columns.items()}
            self.size = len(self.columns["ids"])

    def segment(self) -> Segment:
        """The memories as they are now."""
        if not self.columns:
            self.append(**_nothing(self.width))
        now: dict[str, Any] = {name: column[: self.size] for name, column in self.columns.items()}
        bank = MemoryBank(*(now[name] for name in _OF_BANK))
        bank.take_index(Scan(now["unit"]))
        return Segment(bank, *(now[name] for name in _COLUMNS))


def _nothing(width: int) -> dict[str, np.ndarray]:
    small = {name: np.zeros(0, np.int32) for name in ("targets", "owners", "lengths")}
    times = {name: np.zeros(0) for name in ("times", "added")}
    return {**small, **times, "keys": np.zeros((0, width), np.float32), "ids": np.zeros(0, np.int64)}
