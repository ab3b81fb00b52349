"""The training-free mixture: what the memories say of the next item, beside what the user vector says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Mixture:
    """p = (1 - weight) softmax(scores) + weight * sum_k softmax_k(cosine_k / tau) [item_k = item].

    The nearest-neighbour language model's interpolation (arXiv 1911.00172) with items for words.
    """

    weight: float
    tau: float

    def mix(self, scores: Tensor, items: Tensor, cosine: Tensor) -> None:
        """Turn scores [V, B] in place into others whose softmax is the mixture's, up to a constant of each column.

        Only the memories' items change, so their order among the others is all that is computed. A
        column without memories stays.

        Parameters
        ----------
        items, cosine : [B, K] of the memories; the cosine of a place without a memory is -inf.
        """
        if self.weight == 0:
            return
        real = cosine > -torch.inf
        share = torch.softmax((cosine / self.tau).masked_fill(~real.any(dim=1, keepdim=True), 0), dim=1) * real
        # A memory's item has the shares of all memories of that item.
        order = items.argsort(dim=1)
        item, share = items.gather(1, order), share.gather(1, order)
        first = torch.ones_like(item, dtype=torch.bool)
        first[:, 1:] = item[:, 1:] != item[:, :-1]
        group = first.long().cumsum(dim=1) - 1
        share = torch.zeros_like(share).scatter_add_(1, group, share).gather(1, group)
        odds = torch.log(share * (self.weight / (1 - self.weight))).T  # [K, B]
        scores.scatter_(0, item.T, torch.logaddexp(scores.gather(0, item.T), odds + scores.logsumexp(dim=0)))


def cosines(vectors: Tensor, keys: Tensor, real: Tensor) -> Tensor:
    """[B, D], [B, K, D], [B, K] -> [B, K] cosine of each vector and its memories' keys; -inf where none is real."""
    cosine = torch.einsum("bd,bkd->bk", normalize(vectors, dim=1), normalize(keys, dim=2))
    return cosine.masked_fill(~real, -torch.inf)
