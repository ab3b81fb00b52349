"""The training-free mixture of two predictions of the next item: by the user vector, and by the memories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recbole_raserec.retrieval.neighbours import Neighbours


@dataclass(frozen=True)
class Mixture:
    """p = (1 - weight) softmax(scores) + weight * sum_k softmax_k(cosine_k / tau) [item_k = item].

    This is the interpolation of the nearest-neighbour language model (arXiv 1911.00172), with items instead of words.
    """

    weight: float
    tau: float

    def mix(self, scores: Tensor, items: Tensor, cosine: Tensor) -> Tensor:
        """Change the scores in place, so their softmax is the mixture p.

        Each column may also shift by a constant. So only the scores of the memories' items must change. A column
        without memories stays unchanged.

        Parameters
        ----------
        scores : [V, B]. Row 0 is padding; it is not part of the softmax and becomes -inf.
        items, cosine : [B, K] items and cosines of the memories; the cosine is -inf where there is no memory.

        Returns
        -------
        ``scores``
        """
        scores[0] = -torch.inf
        order = items.argsort(dim=1)  # puts memories of the same item side by side
        items, cosine = items.gather(1, order), cosine.gather(1, order)
        real = cosine > -torch.inf
        logits = (cosine / self.tau).masked_fill(~real.any(dim=1, keepdim=True), 0)
        share = _summed_by_item(torch.softmax(logits, dim=1) * real, items)
        odds = torch.log(share * (self.weight / (1 - self.weight))).T  # [K, B]
        mixed = torch.logaddexp(scores.gather(0, items.T), odds + scores.logsumexp(dim=0))
        return scores.scatter_(0, items.T, mixed)


def _summed_by_item(share: Tensor, items: Tensor) -> Tensor:
    """[B, K] -> [B, K]: replace each memory's value by the sum over its item's memories, which are side by side."""
    first = torch.ones_like(items, dtype=torch.bool)
    first[:, 1:] = items[:, 1:] != items[:, :-1]
    group = first.long().cumsum(dim=1) - 1
    return torch.zeros_like(share).scatter_add_(1, group, share).gather(1, group)


def cosines(vectors: Tensor, neighbours: Neighbours) -> Tensor:
    """[B, K] cosine of each user vector [B, D] and its memories' keys; -inf where there is no memory."""
    cosine = torch.einsum("bd,bkd->bk", normalize(vectors, dim=1), normalize(neighbours.vectors, dim=2))
    return cosine.masked_fill(~neighbours.real, -torch.inf)
