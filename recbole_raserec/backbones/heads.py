"""Heads turn the last layer's output and the item table into the vectors whose products are the scores."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


class InnerProduct:
    """Scores are inner products of the last layer's output and the item embeddings, as in SASRec."""

    def users(self, hidden: Tensor) -> Tensor:
        return hidden

    def items(self, table: Tensor) -> Tensor:
        return table


class Cosine:
    """Scores are cosines divided by ``tau``: user vectors have length 1 / ``tau``, and item vectors have length 1."""

    def __init__(self, tau: float) -> None:
        self.tau = tau

    def users(self, hidden: Tensor) -> Tensor:
        return normalize(hidden, dim=-1) / self.tau

    def items(self, table: Tensor) -> Tensor:
        return normalize(table, dim=-1)
