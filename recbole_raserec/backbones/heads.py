"""Heads turn the last layer's output and the item table into the vectors whose products are the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import normalize

from recbole_raserec.backbones.protocol import Head
from recbole_raserec.errors import ConfigError
from recbole_raserec.nn.softmax import negatives_for

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config


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


def head_of(config: Config, items: int) -> Head:
    """Inner products, or cosines if ``score_tau`` is above 0. ``items`` is the size of the catalogue.

    Raises
    ------
    ConfigError : scores are cosines, but there are so many items that the softmax is sampled.
    """
    tau = config["score_tau"]
    if tau and negatives_for(config["softmax_negatives"], items):
        problem = "a cosine needs every item vector, and here the softmax samples them"
        raise ConfigError("score_tau", tau, problem, "give --score_tau=0, or --softmax_negatives=0")
    return Cosine(tau) if tau else InnerProduct()
