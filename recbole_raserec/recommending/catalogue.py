"""The items that can be recommended: those of the training data, and those that the memory has met since."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.model import Scorer
from recbole_raserec.retrieval.snapshot import Snapshot
from recbole_raserec.training.model_file import TrainedModel

_SAMPLED = 20_000  # memories from which the usual score of a target is taken
# New items get this fraction of it. More recommends them oftener, at the others' cost (Beauty: docs/tried.md).
_NEW = 0.7


@dataclass(frozen=True)
class Catalogue:
    """V items, of which the first are those of the training data.

    Attributes
    ----------
    scorer : scores all V items.
    allowed : [V] whether an item may be recommended; False for padding and for new items without a memory.
    """

    scorer: Scorer
    allowed: np.ndarray


def catalogue(trained: TrainedModel, snapshot: Snapshot) -> Catalogue:
    """The catalogue of a trained model and its memories.

    The vector of a new item points where the keys of its memories point on average. It is as long as makes its mean
    score under these keys a fixed fraction of a known target's under its memory's key. Its bias is the mean of all
    biases.
    """
    scorer = trained.model.scorer()
    known, total = len(scorer.item_vectors), len(trained.items)
    allowed = np.ones(total, bool)
    allowed[0] = False
    if total == known:
        return Catalogue(scorer, allowed)
    vectors, met = _new_vectors(scorer, snapshot, known, total)
    allowed[known:] = met
    item_vectors = torch.cat([scorer.item_vectors, vectors.to(scorer.item_vectors)])
    bias = scorer.item_bias
    if bias is not None:
        bias = torch.cat([bias, bias[1:].mean().expand(total - known)])
    log_counts = torch.cat([scorer.log_counts, scorer.log_counts.new_zeros(total - known)])
    absent = torch.from_numpy(np.flatnonzero(~allowed)).to(item_vectors.device)
    with_new = replace(scorer, item_vectors=item_vectors, item_bias=bias, log_counts=log_counts, absent=absent)
    return Catalogue(with_new, allowed)


def _new_vectors(scorer: Scorer, snapshot: Snapshot, known: int, total: int) -> tuple[Tensor, np.ndarray]:
    """Vectors [N, D] of the new items, and which of them [N] have a memory."""
    rows = snapshot.leading_to(known)
    keys = torch.from_numpy(snapshot.keys(rows)).double()
    item = torch.from_numpy(snapshot.targets(rows).astype(np.int64)) - known
    weight = torch.from_numpy(snapshot.weights(rows)).double()
    count = torch.zeros(total - known, dtype=torch.float64).index_add_(0, item, weight)
    mean = torch.zeros(total - known, keys.shape[1], dtype=torch.float64).index_add_(0, item, weight[:, None] * keys)
    mean /= torch.where(count > 0, count, 1)[:, None]
    own = (mean * mean).sum(dim=1).clamp(min=1e-12)  # mean score of mean as an item vector under its keys
    return (mean * (_NEW * _usual_score(scorer, snapshot, known) / own)[:, None]).float(), _met(
        snapshot, rows, item.numpy(), total - known
    )


def _met(snapshot: Snapshot, rows: np.ndarray, item: np.ndarray, count: int) -> np.ndarray:
    """[count] whether each new item has memories of enough owners. ``rows`` [N] lead to the new items ``item`` [N]."""
    pairs = np.unique(np.stack([item, snapshot.owners(rows)]), axis=1)  # nobody is one owner
    return np.bincount(pairs[0], minlength=count) >= max(1, snapshot.guard.new_item_owners)


def _usual_score(scorer: Scorer, snapshot: Snapshot, known: int) -> float:
    """Mean inner product of a memory's key and its target's vector, of memories that are not deleted."""
    alive = snapshot.leading_to(0)
    rows = alive[np.random.default_rng(0).integers(0, max(len(alive), 1), _SAMPLED if len(alive) else 0)]
    targets = snapshot.targets(rows)
    rows, targets = rows[targets < known], targets[targets < known]
    if len(rows) == 0:
        return float(scorer.item_vectors[1:].pow(2).sum(dim=1).mean())
    vectors = scorer.item_vectors[torch.from_numpy(targets.astype(np.int64)).to(scorer.item_vectors.device)].cpu()
    return float((torch.from_numpy(snapshot.keys(rows)) * vectors).sum(dim=1).double().mean())
