"""RecBole's metrics of rankings with one target, under both protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct

from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks
from recbole_raserec.runtime.recbole_faults import restore_numpy_names

restore_numpy_names()


class Settings(Protocol):
    """Parameters by name: RecBole's Config, or the ``config`` of a result file."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class Metrics:
    """Which metrics are computed.

    Parameters
    ----------
    names : RecBole's names, for example ``Recall``.
    topk : the k of each ``recall@k``.
    decimals : number of decimal places of every value.
    watched : the metric that decides the best epoch and the best mixture, for example ``ndcg@10``.
    """

    names: tuple[str, ...]
    topk: tuple[int, ...]
    decimals: int
    watched: str

    @classmethod
    def of(cls, config: Settings) -> Metrics:
        """The metrics that ``metrics``, ``topk``, ``metric_decimal_place`` and ``valid_metric`` describe."""
        names, topk = tuple(config["metrics"]), tuple(config["topk"])
        return cls(names, topk, config["metric_decimal_place"], config["valid_metric"].lower())

    @property
    def depth(self) -> int:
        """The largest k. Every rank beyond it is a miss."""
        return max(self.topk)


def recbole_metrics(ranks: np.ndarray, metrics: Metrics) -> dict[str, float]:
    """RecBole's own metrics of rankings with one target, ``{"recall@5": ...}``.

    ``ranks`` [R] are converted to the hit matrix ``rec.topk`` [R, max k + 1]. RecBole's collector makes this matrix
    from scores. RecBole's metric classes then compute the values.
    """
    hits = np.zeros((len(ranks), metrics.depth + 1), np.int32)
    hits[:, -1] = 1  # number of positives
    within = np.flatnonzero(ranks <= metrics.depth)
    hits[within, ranks[within] - 1] = 1
    struct = DataStruct()
    struct.set("rec.topk", torch.from_numpy(hits))
    settings = {"metrics": metrics.names, "topk": metrics.topk, "metric_decimal_place": metrics.decimals}
    return {name: float(value) for name, value in Evaluator(settings).evaluate(struct).items()}


def both_protocols(ranks: Ranks, metrics: Metrics) -> dict[str, dict[str, float]]:
    """``{"unmasked": {"recall@5": ...}, "masked": {...}}``."""
    return {protocol: recbole_metrics(ranks.of(protocol), metrics) for protocol in PROTOCOLS}
