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


class Heard:
    """What the memories of B users say, ready to be mixed into their scores by any :class:`Mixture`.

    Parameters
    ----------
    scores : [V, B], to which :meth:`mix` will write.
    items, cosine : [B, K] of the memories; the cosine of a place without a memory is -inf.
    """

    def __init__(self, scores: Tensor, items: Tensor, cosine: Tensor) -> None:
        order = items.argsort(dim=1)  # memories of one item side by side
        items, self.cosine = items.gather(1, order), cosine.gather(1, order)
        first = torch.ones_like(items, dtype=torch.bool)
        first[:, 1:] = items[:, 1:] != items[:, :-1]
        self.group = first.long().cumsum(dim=1) - 1
        self.real = self.cosine > -torch.inf
        self.scores, self.items = scores, items.T  # [V, B], [K, B]
        self.plain = scores.gather(0, self.items)
        self.total = scores.logsumexp(dim=0)  # [B]

    def mix(self, mixture: Mixture) -> None:
        """Turn the scores in place into others whose softmax is the mixture's, up to a constant of each column.

        Only the memories' items change, so their order among the others is all that is computed. A
        column without memories stays. What an earlier mixture did is undone.
        """
        logits = (self.cosine / mixture.tau).masked_fill(~self.real.any(dim=1, keepdim=True), 0)
        share = torch.softmax(logits, dim=1) * self.real
        # A memory's item has the shares of all memories of that item.
        share = torch.zeros_like(share).scatter_add_(1, self.group, share).gather(1, self.group)
        odds = torch.log(share * (mixture.weight / (1 - mixture.weight))).T  # [K, B]
        self.scores.scatter_(0, self.items, torch.logaddexp(self.plain, odds + self.total))


def cosines(vectors: Tensor, keys: Tensor, real: Tensor) -> Tensor:
    """[B, D], [B, K, D], [B, K] -> [B, K] cosine of each vector and its memories' keys; -inf where none is real."""
    cosine = torch.einsum("bd,bkd->bk", normalize(vectors, dim=1), normalize(keys, dim=2))
    return cosine.masked_fill(~real, -torch.inf)
