"""The training-free mixture: what the memories say of the next item, beside what the user vector says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recbole_raserec.retrieval.neighbours import Neighbours


@dataclass(frozen=True)
class Mixture:
    """p = (1 - weight) softmax(scores) + weight * sum_k softmax_k(cosine_k / tau) [item_k = item].

    The nearest-neighbour language model's interpolation (arXiv 1911.00172) with items for words.
    """

    weight: float
    tau: float

    def mix(self, scores: Tensor, items: Tensor, cosine: Tensor) -> Tensor:
        """Change scores in place into others whose softmax is the mixture's, up to a constant of each column.

        Only the memories' items change, so their order among the others is all that is computed. A
        column without memories stays.

        Parameters
        ----------
        scores : [V, B]; row 0, padding, takes no share of the softmax and becomes -inf.
        items, cosine : [B, K] of the memories; the cosine of a place without a memory is -inf.

        Returns
        -------
        ``scores``
        """
        scores[0] = -torch.inf
        order = items.argsort(dim=1)  # memories of one item side by side
        items, cosine = items.gather(1, order), cosine.gather(1, order)
        real = cosine > -torch.inf
        logits = (cosine / self.tau).masked_fill(~real.any(dim=1, keepdim=True), 0)
        share = _summed_by_item(torch.softmax(logits, dim=1) * real, items)
        odds = torch.log(share * (self.weight / (1 - self.weight))).T  # [K, B]
        mixed = torch.logaddexp(scores.gather(0, items.T), odds + scores.logsumexp(dim=0))
        return scores.scatter_(0, items.T, mixed)


def _summed_by_item(share: Tensor, items: Tensor) -> Tensor:
    """[B, K] each memory's share becomes that of all memories of its item, which stand side by side."""
    first = torch.ones_like(items, dtype=torch.bool)
    first[:, 1:] = items[:, 1:] != items[:, :-1]
    group = first.long().cumsum(dim=1) - 1
    return torch.zeros_like(share).scatter_add_(1, group, share).gather(1, group)


def cosines(vectors: Tensor, neighbours: Neighbours) -> Tensor:
    """[B, K] cosine of each user vector [B, D] and its memories' keys; -inf where there is no memory."""
    cosine = torch.einsum("bd,bkd->bk", normalize(vectors, dim=1), normalize(neighbours.vectors, dim=2))
    return cosine.masked_fill(~neighbours.real, -torch.inf)
