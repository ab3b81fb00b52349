"""Paired bootstrap over users. It answers whether RaSeRec is better than its backbone on the same users."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, replace

import numpy as np

from recbole_raserec.evaluation.metrics import Metrics, Settings, recbole_metrics
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks

INTERVAL = (2.5, 97.5)  # percentiles of a 95 % interval


@dataclass(frozen=True)
class Resampling:
    """The number of resamples of a bootstrap, and the seed of its draws."""

    samples: int
    seed: int

    @classmethod
    def of(cls, config: Settings) -> Resampling:
        """The resampling that ``bootstrap_samples`` and ``seed`` describe."""
        return cls(config["bootstrap_samples"], config["seed"])


def rank_values(metrics: Metrics) -> dict[str, np.ndarray]:
    """The value of each metric for every rank of a single target: ``{"ndcg@10": [depth + 1]}``.

    The last entry is the value of all ranks beyond the largest k. RecBole computes the values.
    """
    exact = replace(metrics, decimals=15)
    by_rank = [recbole_metrics(np.array([rank]), exact) for rank in range(1, metrics.depth + 2)]
    return {name: np.array([row[name] for row in by_rank]) for name in by_rank[0]}


def paired_improvement(
    base: np.ndarray, new: np.ndarray, metrics: Metrics, resampling: Resampling
) -> dict[str, list[float | None]]:
    """Relative gain of ``new`` over ``base`` in percent with its 95 % interval, for every metric.

    Users are resampled with replacement, and all rankings of a user stay together. Users with the same ranks are
    interchangeable. So one multinomial draw of their counts is equivalent to a resample of the users.

    Parameters
    ----------
    base, new : [R] ranks of the same users' targets, or [S, R] from S seeds; metrics are then means over the seeds.

    Returns
    -------
    ``{metric: [percent, low, high]}``; a value is None where the baseline is 0.
    """
    pairs = np.stack([np.atleast_2d(base), np.atleast_2d(new)])  # [2, S, R]
    pairs = np.minimum(pairs, metrics.depth + 1).astype(np.int32)
    alike, count = np.unique(pairs.reshape(-1, pairs.shape[-1]), axis=1, return_counts=True)
    before_rank, after_rank = alike.reshape(2, -1, alike.shape[-1]) - 1  # [S, cells] each
    random = np.random.default_rng(resampling.seed)
    draws = random.multinomial(len(base.T), count / len(base.T), size=resampling.samples)
    counts = np.vstack([count, draws]).astype(np.float64)  # the users themselves first; exact, and BLAS multiplies them
    improvement: dict[str, list[float | None]] = {}
    for name, value in rank_values(metrics).items():
        before, after = counts @ value[before_rank].sum(axis=0), counts @ value[after_rank].sum(axis=0)
        if before.min() <= 0:
            improvement[name] = [None if before[0] <= 0 else _percent(before[0], after[0]), None, None]
            continue
        percent = 100 * (after - before) / before
        low, high = np.percentile(percent[1:], INTERVAL)
        improvement[name] = [round(float(p), 4) for p in (percent[0], low, high)]
    return improvement


def improvements(
    base: Ranks, new: Ranks, metrics: Metrics, resampling: Resampling
) -> dict[str, dict[str, list[float | None]]]:
    """:func:`paired_improvement` under both protocols, with the same resamples of users."""
    return {p: paired_improvement(base.of(p), new.of(p), metrics, resampling) for p in PROTOCOLS}


_ROUNDING = 1e-12  # share of a sum that rounding can make


def gains(base: Ranks, new: Ranks, metrics: Metrics) -> dict[tuple[str, str], np.ndarray]:
    """What each user [R] gains in each metric under each protocol: ``{("masked", "ndcg@10"): ...}``."""
    deepest = metrics.depth + 1
    return {
        (protocol, name): value[np.minimum(new.of(protocol), deepest) - 1]
        - value[np.minimum(base.of(protocol), deepest) - 1]
        for name, value in rank_values(metrics).items()
        for protocol in PROTOCOLS
    }


def z_of(gain: np.ndarray) -> float:
    """The mean of the users' gains [R] in standard errors; 0 where nobody's figure changes.

    The variance is that about 0, as if nothing was gained. So R users who all lose alike have no infinite z, but -R^.5.
    """
    total = float(gain.sum())
    if abs(total) <= _ROUNDING * float(np.abs(gain).sum()):  # gains and losses that are equal, but for rounding
        return 0.0
    return total / float(np.sqrt((gain**2).sum()))


def pack_ranks(ranks: np.ndarray, depth: int) -> str:
    """Ranks [R] as text for a result file, so other runs can be paired with them.

    All ranks beyond ``depth`` become depth + 1; ``depth`` is at most ``DEEPEST`` of the checks.
    """
    return base64.b64encode(zlib.compress(np.minimum(ranks, depth + 1).astype(np.uint8).tobytes(), 9)).decode()


def unpack_ranks(text: str) -> np.ndarray:
    """[R] ranks from the text of :func:`pack_ranks`; ranks beyond the depth are depth + 1."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).astype(np.int32)


def _percent(before: float, after: float) -> float:
    return round(float(100 * (after - before) / before), 4)
