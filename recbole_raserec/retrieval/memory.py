"""The memory bank of section 3.2: what the frozen backbone saw, and the leak-free search in it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.retrieval.index import build_index, log_recall
from recbole_raserec.retrieval.neighbours import NO_MEMORY, Neighbours
from recbole_raserec.runtime.progress import Progress

NO_OWNER = 0  # RecBole's padding id: no user has it
_COLUMNS = ("keys", "targets", "owners", "lengths")
_QUERIES = 4096  # searched at once: FAISS takes more than half as long for a tenth of them
_CANDIDATES = 2**21  # found at once, indices and rough cosines
_COMPARED = 2**17  # of which the keys are held at once
_TIES = 1024  # memories as near as the last one that are told apart by their place in the bank
_ROUNDING = 1e-6  # of FAISS's cosines, which depend on what else is searched at the same time


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """N memories: the vector of a prefix, and the item that followed it.

    Attributes
    ----------
    keys : [N, D] float32, encoder outputs as they are (searched normalised).
    targets : [N] item that followed.
    owners : [N] user the prefix belongs to; ``NO_OWNER`` for none.
    lengths : [N] items in the prefix, not cut to the model's maximum.
    """

    keys: np.ndarray
    targets: np.ndarray
    owners: np.ndarray
    lengths: np.ndarray
    index_factory: str = "Flat"
    index_nprobe: int = 16

    def __len__(self) -> int:
        return len(self.targets)

    def __getstate__(self) -> dict[str, Any]:
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return columns  # FAISS's index does not pickle; it is built again when it is needed

    def join(self, other: MemoryBank) -> MemoryBank:
        """Both banks' memories under this bank's settings."""
        joined = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _COLUMNS}
        return dataclasses.replace(self, **joined)

    def older(self, share: float) -> MemoryBank:
        """The first ``share`` of every owner's memories, and those of no owner: what was known some time ago."""
        longest = np.zeros(int(self.owners.max(initial=0)) + 1, np.int64)
        np.maximum.at(longest, self.owners, self.lengths)
        kept = (self.owners == NO_OWNER) | (self.lengths <= np.ceil(share * longest[self.owners]))
        return dataclasses.replace(self, **{name: getattr(self, name)[kept] for name in _COLUMNS})

    def neighbours(self, indices: Tensor) -> Neighbours:
        """The memories ``indices`` [B, K], numbers by :meth:`search`, on the device of the indices."""
        device = indices.device
        if device not in self._on:  # copied to a device once; on a CPU the arrays are shared
            keys, targets = torch.from_numpy(self.keys), torch.from_numpy(self.targets)
            self._on[device] = keys.to(device), targets.long().to(device)
        return Neighbours(indices, *self._on[device])

    @cached_property
    def _on(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """The four columns as tensors, for checkpoints."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _COLUMNS}

    def cosines(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """[R, K] cosine of each vector [R, D] and its memories ``found`` [R, K]; -inf where there is none.

        In double precision, so that it is a function of the two vectors alone.
        """
        cosine = np.empty(found.shape, np.float32)
        for rows in _blocks(np.arange(len(found)), _COMPARED // found.shape[1]):
            near = found[rows]
            keys = normalise(self.keys[near.ravel()]).reshape(*near.shape, -1)
            cosine[rows] = np.einsum("rd,rkd->rk", normalise(vectors[rows]), keys, dtype=np.float64)
        cosine[found == NO_MEMORY] = -np.inf
        return cosine

    def search(
        self, queries: np.ndarray, users: np.ndarray, lengths: np.ndarray, k: int, progress: Progress = iter
    ) -> np.ndarray:
        """The ``k`` nearest memories of each query by cosine, leaks excluded.

        A memory of the query's own user whose prefix is as long as the query's or longer was made
        with the query's target in view, and is never returned.

        Parameters
        ----------
        queries : [Q, D] user vectors.
        users, lengths : [Q] whose they are, and the number of items behind them.
        k : memories to find.

        Returns
        -------
        [Q, k] int32 indices of memories, nearest first and of equally near ones the first in the bank, none
        twice, ``NO_MEMORY`` after the last. The first n of k are what an exact search for n finds, unless
        more than a thousand memories are equally near.
        """
        found = np.full((len(queries), k), NO_MEMORY, np.int32)
        if len(self) == 0 or len(queries) == 0:
            return found
        enough = np.minimum(k + self._count_leaks(users, lengths) + _TIES, len(self))
        rows, depth = np.arange(len(queries)), min(k + max(k // 2, 8), len(self))
        while len(rows):
            # Queries that leaks or ties crowd out are searched again, twice as deep.
            blocks = _blocks(rows, min(_QUERIES, _CANDIDATES // depth))
            complete = [self._search_block(queries, users, lengths, block, depth, found) for block in progress(blocks)]
            rows = rows[~np.concatenate(complete) & (depth < enough[rows])]
            depth, progress = min(2 * depth, len(self)), iter
        return found

    def _search_block(
        self,
        queries: np.ndarray,
        users: np.ndarray,
        lengths: np.ndarray,
        rows: np.ndarray,
        depth: int,
        found: np.ndarray,
    ) -> np.ndarray:
        """Fill ``found[rows]`` from the ``depth`` nearest; [R] whether nothing deeper can belong there."""
        k = found.shape[1]
        rough, near = self._index.search(normalise(queries[rows]), depth)  # [R, depth] both
        near = np.sort(near, axis=1)
        leak = (self.owners[near] == users[rows, None]) & (self.lengths[near] >= lengths[rows, None])
        cosine = np.where(leak, -np.inf, self.cosines(queries[rows], near))
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(cosine, order, axis=1)
        found[rows, : best.shape[1]] = np.where(best > -np.inf, np.take_along_axis(near, order, axis=1), NO_MEMORY)
        if best.shape[1] < k:
            return np.zeros(len(rows), bool)
        # Only an exact index promises that what it left out is no nearer than its last.
        rest = rough[:, -1] + _ROUNDING if self.index_factory == "Flat" else -np.inf
        return (best[:, -1] > rest) | (near[:, 0] == NO_MEMORY)

    def _count_leaks(self, users: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[Q] memories of the same user with a prefix as long or longer."""
        span, ordered = self._ordered
        user = users.astype(np.int64) * span
        return np.searchsorted(ordered, user + span) - np.searchsorted(ordered, user + np.minimum(lengths, span - 1))

    @cached_property
    def _ordered(self) -> tuple[int, np.ndarray]:
        """One more than the longest prefix and a place beyond it, and owner x that + length of all memories, sorted."""
        span = int(self.lengths.max()) + 2
        return span, np.sort(self.owners.astype(np.int64) * span + self.lengths)

    @cached_property
    def _index(self) -> Any:
        """FAISS's, filled."""
        keys = normalise(self.keys)
        index = build_index(keys, self.index_factory, self.index_nprobe)
        if self.index_factory != "Flat":
            log_recall(index, keys, min(20, len(self)), seed=0)
        return index


def normalise(vectors: np.ndarray) -> np.ndarray:
    """[N, D] -> the same, each row of length one (a zero row stays zero)."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norm, 1e-12), dtype=np.float32)


def _blocks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """``rows`` in parts of nearly the same number, at most ``size``."""
    return np.array_split(rows, max(1, -(-len(rows) // max(1, size))))
