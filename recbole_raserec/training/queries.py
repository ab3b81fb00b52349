"""Parts of the data under a frozen backbone. They are encoded once, searched once, and ranked as often as needed.

This module divides the rows among several processes. So the memory bank and the encoder need not know about them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.evaluation.ranking import Change, Ranks, rank_changes, rank_targets
from recbole_raserec.model import RaSeRec, Scorer
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.mixture import Mixture, Votes
from recbole_raserec.retrieval.neighbours import Neighbours
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.progress import Progress, bar
from recbole_raserec.runtime.ray import map_on_ray

_ROWS_A_TASK = 2**17  # rows that a Ray worker encodes in one task


@dataclass(frozen=True)
class Queries:
    """R pairs with their user vectors and memories.

    Attributes
    ----------
    prefixes : the pairs, one per row.
    vectors : [R, D] user vectors of the backbone.
    indices : [R, K] numbers of each row's memories in ``memory``; both None where none were searched.
    """

    prefixes: Prefixes
    vectors: Tensor
    indices: Tensor | None = None
    memory: MemoryBank | None = None

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Neighbours | None]:
        """Vectors and memories of the rows [B]."""
        if self.memory is None or self.indices is None:
            return self.vectors[rows], None
        return self.vectors[rows], self.memory.neighbours(self.indices[rows])

    def to(self, device: torch.device, k: int) -> Queries:
        """The same on ``device``, with the ``k`` nearest memories."""
        near = None if self.indices is None else self.indices[:, :k].to(device)
        return Queries(self.prefixes, self.vectors.to(device), near, self.memory)


def encode_part(
    model: RaSeRec,
    part: Prefixes,
    progress: Progress = iter,
    ray_address: str | None = None,
    rows_a_task: int = _ROWS_A_TASK,
) -> np.ndarray:
    """[R, D] user vectors of the backbone; dropout is off.

    Several processes divide the rows among them. With one process and a ``ray_address``, Ray encodes them.
    """
    if ray_address is None or processes.size() > 1 or len(part) == 0:
        backbone = model.backbone
        return processes.by_share(lambda rows: encode_prefixes(backbone, part.take(rows), progress), len(part))
    device = model.item_vectors.device
    shared = copy.deepcopy(model.backbone).cpu(), part, device
    bounds = [*range(0, len(part), rows_a_task), len(part)]
    ends = list(zip(bounds, bounds[1:]))
    return np.concatenate(
        list(map_on_ray(ray_address, _encode_rows, shared, ends, on_gpu=device.type == "cuda", progress=progress))
    )


def _encode_rows(shared: tuple[Any, Prefixes, torch.device], ends: tuple[int, int]) -> np.ndarray:
    backbone, part, device = shared
    return encode_prefixes(backbone.to(device), part.take(np.arange(*ends)))


def search_part(
    memory: MemoryBank,
    part: Prefixes,
    vectors: np.ndarray,
    k: int,
    progress: Progress = iter,
    before: np.ndarray | None = None,
) -> Queries:
    """The part with the ``k`` nearest memories of each row. Several processes divide the rows among them.

    ``before`` [R] limits the memories of each row to those that are older.
    """

    def search(rows: np.ndarray) -> np.ndarray:
        mine = slice(rows[0], rows[-1] + 1) if len(rows) else slice(0)  # consecutive: the vectors are not copied
        limit = None if before is None else before[mine]
        of_rows = vectors[mine], part.users[mine], part.lengths[mine]
        return memory.search(*of_rows, k, progress, before=limit, part=len(part))

    found = processes.by_share(search, len(part))
    return Queries(part, torch.from_numpy(vectors), torch.from_numpy(found), memory)


def rank_queries(scorer: Scorer, queries: Queries, block: int, show_progress: bool) -> Ranks:
    """Ranks of the rows' targets. The queries must be on the scorer's device, and dropout must be off."""

    def score(rows: np.ndarray, out: Tensor) -> Tensor:
        return scorer(*queries[torch.from_numpy(rows).to(queries.vectors.device)], out=out)

    return rank_targets(score, scorer.items, queries.prefixes, block, bar("evaluate", show_progress))


def rank_mixtures(
    scorer: Scorer, mixtures: Sequence[Mixture], queries: Queries, block: int, show_progress: bool
) -> list[Ranks]:
    """As :func:`rank_queries` under each of ``mixtures``; what they have in common is computed once."""

    def rows_of(rows: np.ndarray) -> tuple[Tensor, Neighbours | None]:
        return queries[torch.from_numpy(rows).to(queries.vectors.device)]

    def score(rows: np.ndarray, out: Tensor) -> Tensor:
        return scorer.products(*rows_of(rows), out)

    def changes(rows: np.ndarray, scores: Tensor) -> list[Change]:
        votes = scorer.votes(*rows_of(rows), scores)
        return [partial(_mixed, votes, mixture) for mixture in mixtures]

    items, progress = scorer.items, bar("evaluate", show_progress)
    return rank_changes(score, changes, len(mixtures), items, queries.prefixes, block, progress)


def _mixed(votes: Votes | None, mixture: Mixture, scores: Tensor) -> Tensor:
    return scores if votes is None else votes.mix(scores, mixture)
