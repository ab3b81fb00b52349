"""The training-free mixture of two predictions of the next item: by the user vector, and by the memories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recbole_raserec.retrieval.attention import together
from recbole_raserec.retrieval.neighbours import Neighbours


@dataclass(frozen=True)
class Mixture:
    """p = (1 - weight) softmax(scores) + weight * sum_k softmax_k(logit_k) [item_k = item].

    logit_k = cosine_k / tau - exponent * log(1 + training count of item_k). Without an exponent this is the
    interpolation of the nearest-neighbour language model (arXiv 1911.00172), with items instead of words. With one, a
    vote is divided by (1 + count)^exponent, the logit adjustment of long-tail learning (arXiv 2007.07314): popular
    items have more memories, so they get more votes than their users' histories speak for.
    """

    weight: float
    tau: float
    exponent: float = 0.0

    def plain(self) -> dict[str, float]:
        """The values by name. An exponent of 0 is left out, as before there was one."""
        values = {"weight": self.weight, "tau": self.tau}
        return {**values, "exponent": self.exponent} if self.exponent else values

    def shares(self, cosine: Tensor, log_counts: Tensor, trust: Tensor | None = None) -> Tensor:
        """[..., K] share of each memory in the votes of its row; 0 where there is no memory.

        Parameters
        ----------
        cosine : [..., K] of the memories; -inf where there is none.
        log_counts : [..., K] log(1 + training count) of the memories' items.
        trust : [..., K] how much each memory counts; None is 1 for all.
        """
        real = cosine > -torch.inf
        logits = cosine / self.tau - self.exponent * log_counts
        logits = logits.masked_fill(~real.any(dim=-1, keepdim=True), 0)
        return torch.softmax(logits if trust is None else logits + trust.log(), dim=-1) * real

    def votes(self, cosine: Tensor, log_counts: Tensor, trust: Tensor | None = None) -> Tensor:
        """[K] weight of each memory of one row in the mixture; the parameters are those of :meth:`shares`."""
        weight = self.weight if trust is None else self.weight * together(trust[None], cosine[None] > -torch.inf)
        return (weight * self.shares(cosine, log_counts, trust)).flatten()


class Votes:
    """What the memories of B users say of the next item. Several mixtures of one block of scores share it.

    Parameters
    ----------
    scores : [V, B] before any mixture; row 0, padding, takes no share of the softmax and becomes -inf.
    items, cosine : [B, K] of the memories; the cosine of a place without a memory is -inf.
    log_counts : [V] log(1 + training count) of each item.
    trust : [B, K] how much each memory counts; None is 1 for all. Memories that count less than one memory together
        have so much less of the mixture's weight.
    """

    def __init__(
        self, scores: Tensor, items: Tensor, cosine: Tensor, log_counts: Tensor, trust: Tensor | None = None
    ) -> None:
        scores[0] = -torch.inf
        order = items.argsort(dim=1)  # memories of one item side by side
        items, self.cosine = items.gather(1, order), cosine.gather(1, order)
        first = torch.ones_like(items, dtype=torch.bool)
        first[:, 1:] = items[:, 1:] != items[:, :-1]
        self.group = first.long().cumsum(dim=1) - 1
        self.real = self.cosine > -torch.inf
        self.log_counts = log_counts[items]
        self.trust = None if trust is None else trust.gather(1, order)
        self.items = items.T  # [K, B]
        self.plain = scores.gather(0, self.items)
        self.total = scores.logsumexp(dim=0)  # [B]

    def mix(self, scores: Tensor, mixture: Mixture) -> Tensor:
        """Change the scores in place into others whose softmax is the mixture's, up to a constant of each column.

        Only the scores of the memories' items change, and an earlier mixture's are replaced. A column without
        memories stays.
        """
        share = mixture.shares(self.cosine, self.log_counts, self.trust)
        # A memory's item has the shares of all memories of that item.
        share = torch.zeros_like(share).scatter_add_(1, self.group, share).gather(1, self.group)
        odds = torch.log(share * self._odds(mixture.weight)).T  # [K, B]
        return scores.scatter_(0, self.items, torch.logaddexp(self.plain, odds + self.total))

    def _odds(self, weight: float) -> float | Tensor:
        """The odds of the memories, [B, 1] or a number for all."""
        if self.trust is None:
            return weight / (1 - weight)
        of = weight * together(self.trust, self.real).double()  # as exact as the number
        return (of / (1 - of)).to(self.cosine.dtype)


def cosines(vectors: Tensor, neighbours: Neighbours) -> Tensor:
    """[B, K] cosine of each user vector [B, D] and its memories' keys; -inf where there is no memory."""
    cosine = torch.einsum("bd,bkd->bk", normalize(vectors, dim=1), normalize(neighbours.vectors, dim=2))
    return cosine.masked_fill(~neighbours.real, -torch.inf)
