"""What a search sees: memories at one moment, which do not change while others are added and deleted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.retrieval.guard import NO_GUARD, Guard
from recbole_raserec.retrieval.neighbours import NO_MEMORY, Neighbours
from recbole_raserec.retrieval.segments import Segment


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Memories by row number: first those of ``base``, then those of ``tail``, in the order of their ids.

    Any thread may use it. Row numbers hold within one snapshot only; ids hold for ever.
    """

    base: Segment
    tail: Segment
    guard: Guard = NO_GUARD

    def __len__(self) -> int:
        """How many memories are not deleted."""
        return sum(len(part) - part.deaths for part in (self.base, self.tail))

    def search(self, queries: np.ndarray, owners: np.ndarray, lengths: np.ndarray, k: int) -> np.ndarray:
        """The ``k`` nearest memories of each query by cosine, without leaks and without deleted ones.

        Parameters
        ----------
        queries : [Q, D] vectors of histories.
        owners : [Q] number of each history's owner; -1 is nobody, whose history has no leaks.
        lengths : [Q] number of items in each history.
        k : number of memories to find.

        Returns
        -------
        [Q, k] int32 rows, as of :meth:`~recbole_raserec.retrieval.memory.MemoryBank.search`: nearest first,
        ``NO_MEMORY`` after the last, equally near ones in the order of their ids.
        """
        owners, lengths = np.asarray(owners), np.asarray(lengths)
        found = self.base.search(queries, owners, lengths, k)
        if not len(self.tail):
            return found
        newer = self.tail.search(queries, owners, lengths, k)
        cosine = [self.base.bank.cosines(queries, found) if len(self.base) else np.full(found.shape, -np.inf)]
        cosine.append(self.tail.bank.cosines(queries, newer))
        newer = np.where(newer == NO_MEMORY, NO_MEMORY, newer + len(self.base)).astype(np.int32)
        order = np.argsort(-np.concatenate(cosine, axis=1), axis=1, kind="stable")[:, :k]
        return np.take_along_axis(np.concatenate([found, newer], axis=1), order, axis=1)

    def cosines(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """[R, K] cosine of each vector [R, D] and its memories ``found`` [R, K]; -inf where there is no memory."""
        cosine = np.full(found.shape, -np.inf, np.float32)
        for part, start in ((self.base, 0), (self.tail, len(self.base))):
            inside = (found >= start) & (found < start + len(part))
            if inside.any():
                here = part.bank.cosines(vectors, np.where(inside, found - start, NO_MEMORY))
                cosine = np.where(inside, here, cosine)
        return cosine

    def neighbours(self, found: Tensor) -> Neighbours:
        """The memories ``found`` [B, K] of a search, on the device of ``found``. Only their keys are copied.

        Returns
        -------
        keys [B * K, D], targets [B * K], and indices [B, K] that number these; none if there are no memories.
        """
        device, rows = found.device, found.cpu().numpy()
        if not len(self):
            rows = rows[:0]
        keys, targets = self._column("keys", rows.ravel()), self.targets(rows.ravel()).astype(np.int64)
        place = torch.arange(found.numel(), device=device).view(found.shape)
        indices = torch.where(found == NO_MEMORY, torch.full_like(place, NO_MEMORY), place)
        trust = None if self._weights is None else torch.from_numpy(self.weights(rows.ravel())).to(device)
        return Neighbours(indices, torch.from_numpy(keys).to(device), torch.from_numpy(targets).to(device), trust)

    def targets(self, rows: np.ndarray | int) -> np.ndarray:
        """Number of the target of each of ``rows``, in the shape of ``rows``; of NO_MEMORY it means nothing."""
        return self._column("targets", rows)

    def owners(self, rows: np.ndarray | int) -> np.ndarray:
        """Number of the owner of each of ``rows``, or NO_OWNER."""
        return self._column("owners", rows)

    def lengths(self, rows: np.ndarray | int) -> np.ndarray:
        """Number of items in the prefix of each of ``rows``."""
        return self._column("lengths", rows)

    def times(self, rows: np.ndarray | int) -> np.ndarray:
        """Time of each of ``rows``, NaN if unknown."""
        return self._column("times", rows)

    def ids(self, rows: np.ndarray | int) -> np.ndarray:
        """Id of each of ``rows``, which the store gave it."""
        return self._column("ids", rows)

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """Key of each of ``rows``, [..., D]."""
        return self._column("keys", rows)

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """[N] float32 weight of each of ``rows`` [N] by the guard's ``votes_per_owner``; 1 for the model's own."""
        if self._weights is None:
            return np.ones(len(rows), np.float32)
        return np.where(np.isnan(self._column("added", rows)), np.float32(1), self._weights[self.owners(rows)])

    @cached_property
    def _weights(self) -> np.ndarray | None:
        """The weight of an added memory by its owner's number; None if all are 1."""
        votes = self.guard.votes_per_owner
        if not votes:
            return None
        parts = [(part, part.new[~part.dead[part.new]]) for part in (self.base, self.tail)]
        owners = np.concatenate([part.column("owners")[rows] for part, rows in parts])
        counts = np.bincount(owners, minlength=1 + max(part.column("owners").max(initial=0) for part, _ in parts))
        if counts.max() <= votes:
            return None
        return np.minimum(1, votes / np.maximum(counts, 1)).astype(np.float32)

    @property
    def places(self) -> int:
        """How many row numbers there are, also of deleted memories."""
        return len(self.base) + len(self.tail)

    def leading_to(self, number: int) -> np.ndarray:
        """Rows of the memories whose target has ``number`` or a higher one; without deleted ones."""
        parts = ((self.base, 0), (self.tail, len(self.base)))
        return np.concatenate(
            [np.flatnonzero((part.column("targets") >= number) & ~part.dead) + start for part, start in parts]
        )

    def as_of(self, time: float) -> Snapshot:
        """The memories of this snapshot with a time <= ``time`` or an unknown time. Rows may have other numbers."""
        base, tail = self.base.until(time), self.tail.until(time)
        if 2 * base.deaths <= len(base):
            return replace(self, base=base, tail=tail)
        few = base.alive()  # a search that skips most rows would be slow, and an index may need more rows
        return replace(self, base=replace(few, bank=replace(few.bank, index_factory="Flat")), tail=tail)

    def settled(self, time: float) -> Snapshot:
        """The memories of this snapshot that were not added after ``time``."""
        return replace(self, base=self.base.settled(time), tail=self.tail.settled(time))

    def next_after(self, time: float) -> float:
        """The first addition after ``time``, or infinity."""
        added = np.concatenate([part.added[part.new] for part in (self.base, self.tail)])
        return float(added[added > time].min(initial=np.inf))

    def _column(self, name: str, rows: np.ndarray | int) -> np.ndarray:
        """The column ``name`` of ``rows``. A place of NO_MEMORY gets that of row 0, or 0 if there is no row."""
        at, size = np.maximum(rows, 0), len(self.base)
        first, second = self.base.column(name), self.tail.column(name)
        if not size or not len(second):
            column = first if size else second
            return column[at] if len(column) else np.zeros((*np.shape(at), *column.shape[1:]), column.dtype)
        late = np.asarray(at >= size)
        wide = late if first.ndim == 1 else late[..., None]
        return np.where(wide, second[np.where(late, at - size, 0)], first[np.where(late, 0, at)])
