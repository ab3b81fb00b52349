"""The memory bank of section 3.2: vectors of prefixes from the frozen backbone, and the search without leaks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.retrieval.index import (
    LISTS,
    build_index,
    candidates,
    choose_factory,
    is_tiled,
    normalise,
    search_index,
)
from recbole_raserec.retrieval.leaks import Asked, Leaks
from recbole_raserec.retrieval.lists import Lists, build_lists, for_part
from recbole_raserec.retrieval.neighbours import NO_MEMORY, Neighbours
from recbole_raserec.retrieval.recall import check_recall, facts_of
from recbole_raserec.retrieval.threads import in_turn, side_by_side
from recbole_raserec.runtime.progress import Progress
from recbole_raserec.runtime.ragged import blocks_of

NO_OWNER = 0  # RecBole's padding id, which no user has
_COLUMNS = ("keys", "targets", "owners", "lengths", "times")
_QUERIES = 4096  # searched at once: for a tenth of them FAISS needs more than half the time
_LEAST = 256  # queries of a thread, if they are searched by tiles: with fewer, tiles take longer
_CANDIDATES = 2**21  # found at once by a thread, as indices and rough cosines
_COMPARED = 2**13  # memories whose keys are held at once; they stay in a cache
_GROWTH = 4  # a bank that is this many times larger than what it grows by needs no new lists
_TIES = 1024  # memories as near as the last one, among which the order in the bank decides
_ROUNDING = 1e-6  # error of rough cosines, which depend on the other queries of the search


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """N memories. A memory is the vector of a prefix and the item that followed the prefix.

    Attributes
    ----------
    keys : [N, D] float32 outputs of the encoder; only the search normalises them.
    targets : [N] item that followed the prefix.
    owners : [N] user that the prefix belongs to, or ``NO_OWNER``.
    lengths : [N] number of items in the prefix, not cut to the model's maximum.
    times : [N] float64 seconds when the target was chosen, NaN where it is not known; the default is unknown for all.
    index_factory, index_nprobe, index_recall : see properties/model/RaSeRec.yaml.
    """

    keys: np.ndarray
    targets: np.ndarray
    owners: np.ndarray
    lengths: np.ndarray
    times: np.ndarray = None  # type: ignore[assignment]  # never None after construction
    index_factory: str = "Flat"
    index_nprobe: int = 16
    index_recall: float = 0.0

    def __post_init__(self) -> None:
        if self.times is None:
            object.__setattr__(self, "times", np.full(len(self.targets), np.nan))

    def __len__(self) -> int:
        return len(self.targets)

    def __getstate__(self) -> dict[str, Any]:
        # FAISS's index cannot be pickled; it is built again on demand.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def join(self, other: MemoryBank) -> MemoryBank:
        """The memories of both banks, with the settings of this bank."""
        columns: dict[str, Any] = {name: np.concatenate([getattr(b, name) for b in (self, other)]) for name in _COLUMNS}
        return dataclasses.replace(self, **columns)

    def grown(self, other: MemoryBank) -> MemoryBank:
        """As :meth:`join`. This bank is kept and shares the keys of the result. A small ``other`` enters its lists."""
        joined = self.join(other)
        object.__setattr__(self, "keys", joined.keys[: len(self)])  # the same numbers; the old array is freed
        self.__dict__.pop("_on", None)
        if len(other) * _GROWTH <= len(self):
            joined.__dict__["_first"] = self  # the dataclass is frozen, and this is no column
        return joined

    def older(self, share: float) -> MemoryBank:
        """The bank at an earlier time: each owner's oldest memories (the fraction ``share``), and all without owner."""
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
        """The columns as tensors, for checkpoints."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _COLUMNS}

    def cosines(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """[R, K] cosine of each vector [R, D] and its memories ``found`` [R, K]; -inf where there is no memory.

        Sums are in double precision, so a cosine depends only on its two vectors.
        """
        cosine = np.empty(found.shape, np.float32)
        for rows in blocks_of(np.arange(len(found)), _COMPARED // found.shape[1]):
            near = found[rows]
            keys = normalise(self.keys[near.ravel()]).reshape(*near.shape, -1)
            cosine[rows] = np.einsum("rd,rkd->rk", normalise(vectors[rows]), keys, dtype=np.float64)
        cosine[found == NO_MEMORY] = -np.inf
        return cosine

    def search(
        self,
        queries: np.ndarray,
        users: np.ndarray,
        lengths: np.ndarray,
        k: int,
        progress: Progress = iter,
        hidden: np.ndarray | None = None,
        before: np.ndarray | None = None,
        part: int = 0,
    ) -> np.ndarray:
        """The ``k`` nearest memories of each query by cosine, without leaks.

        A memory of the query's own user is a leak if its prefix is as long as the query's prefix or longer,
        because it contains the query's target. Leaks are never returned.

        Parameters
        ----------
        queries : [Q, D] user vectors.
        users, lengths : [Q] user of each query, and number of items in its prefix.
        k : number of memories to find.
        hidden : [N] bool, memories that are never returned, as if they were leaks.
        before : [Q] a time for each query: a memory of this time or later is not returned, one of unknown time is.
        part : number of rows of the part of the data that the queries are from. Many may be searched by lists.

        Returns
        -------
        [Q, k] int32 indices of memories, nearest first, each at most once, ``NO_MEMORY`` after the last. Equally
        near memories are in the order of the bank. The first n of k are the result of an exact search for n,
        unless more than a thousand memories are equally near.
        """
        found = np.full((len(queries), k), NO_MEMORY, np.int32)
        if len(self) == 0 or len(queries) == 0:
            return found
        asked = Asked(queries, users, lengths, hidden, before)
        by_lists = not self.is_exact and for_part(self.index_factory, len(self), part)
        depth = candidates(k, len(self), rough=not self.is_exact and not by_lists)
        least = self._lists.read // 2 if by_lists else 0
        lists = self._lists.assign(queries) if by_lists else None
        rows = np.arange(len(queries)) if lists is None else np.argsort(lists, kind="stable")
        while len(rows):
            # If leaks or ties fill the result of a query, it is searched again, twice as deep.
            tiled = lists is None and is_tiled(self.index, depth)
            # FAISS's own search uses all threads for a block. Blocks of lists are always the same, since they matter.
            run = side_by_side if tiled or by_lists else in_turn
            size = max(_LEAST, -(-len(rows) // torch.get_num_threads())) if tiled else _QUERIES
            blocks = blocks_of(rows, min(size, _QUERIES, _CANDIDATES // depth))
            fill = partial(self._fill, asked=asked, lists=lists, depth=depth, found=found)
            rows = rows[~np.concatenate(run(fill, blocks, progress))]
            rows = rows[depth < np.minimum(k + self._leaks.count(asked, rows) + _TIES, len(self))]
            depth, progress = min(max(2 * depth, least), len(self)), iter
        return found

    def _fill(
        self, rows: np.ndarray, asked: Asked, lists: np.ndarray | None, depth: int, found: np.ndarray
    ) -> np.ndarray:
        """Fill ``found[rows]`` from ``depth`` candidates. Return [R] whether no deeper memory can belong there."""
        vectors, k = asked.vectors[rows], found.shape[1]
        if lists is None:
            rough, near = search_index(self.index, normalise(vectors), depth)
        else:
            rough, near = self._lists.search(normalise(vectors), depth, lists[rows])
        near = np.sort(near, axis=1)
        cosine = np.where(self._leaks.among(near, asked, rows), -np.inf, self.cosines(vectors, near))
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(cosine, order, axis=1)
        found[rows, : best.shape[1]] = np.where(best > -np.inf, np.take_along_axis(near, order, axis=1), NO_MEMORY)
        if best.shape[1] < k:
            return np.zeros(len(rows), bool)
        # Only an exact index guarantees that no memory outside its result is nearer than the last one in it.
        rest = rough[:, -1] + _ROUNDING if self.is_exact else -np.inf
        return (best[:, -1] > rest) | (near[:, 0] == NO_MEMORY)

    @cached_property
    def _leaks(self) -> Leaks:
        return Leaks(self.owners, self.lengths, self.times)

    @property
    def has_index(self) -> bool:
        """Whether the index is there, so that the next search need not build it."""
        return "index" in self.__dict__

    def take_index(self, index: Any) -> None:
        """Search with ``index``, which holds all keys in their order, instead of building one."""
        self.__dict__["index"] = index  # where cached_property keeps its value; the dataclass is frozen

    @property
    def is_exact(self) -> bool:
        """Whether the index finds exactly the nearest memories."""
        return self._factory == "Flat"

    @cached_property
    def _factory(self) -> str:
        """The factory string in force."""
        return choose_factory(self.index_factory, *self.keys.shape)

    @cached_property
    def index(self) -> Any:
        """FAISS's index over all keys. The first use builds it."""
        index = build_index(self.keys, self._factory, self.index_nprobe)
        return index if self.is_exact else self._checked(index)

    @cached_property
    def _lists(self) -> Lists:
        """All keys, for searches of many queries."""
        first: MemoryBank | None = self.__dict__.get("_first")
        return self._checked(build_lists(self.keys) if first is None else first._lists.grown(self.keys[len(first) :]))

    def _checked(self, index: Any) -> Any:
        facts = facts_of(index, self._factory, check_recall(index, self.keys, self.index_recall))
        if self._facts.get("factory") != LISTS:
            self._facts.clear()
            self._facts.update(facts)
        return index

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return {}

    def index_facts(self) -> dict[str, Any] | None:
        """Factory, effort and recall of the approximate index that was built, of lists if they were; or None."""
        return self._facts or None
