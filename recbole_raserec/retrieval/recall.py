"""How many of the exact nearest memories an approximate index finds, and the effort that finds enough of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from recbole_raserec.retrieval.index import LISTS, candidates, effort, normalise
from recbole_raserec.retrieval.lists import MOST, Lists

ENOUGH = 0.95  # a lower recall is a warning
_K = 20
_QUERIES, _IN_LISTS = 500, 4000  # near keys tell less than as many random ones
_BLOCK = 2**17  # keys that are compared with all queries at once
_ROUNDING = 1e-6  # two sums of the same products differ by less


@dataclass(frozen=True)
class Truth:
    """The result of an exact search.

    Attributes
    ----------
    queries : [Q, D] unit vectors.
    least : [Q] cosine of each query and its ``k``-th nearest key.
    """

    queries: np.ndarray
    least: np.ndarray
    k: int


def exact_search(keys: np.ndarray, queries: np.ndarray, k: int) -> Truth:
    """Search all ``keys`` [N, D] for ``queries`` [Q, D], in blocks of keys. ``k`` is at most N."""
    queries = normalise(queries)
    best = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(keys), _BLOCK):
        block = normalise(keys[start : start + _BLOCK])
        cosines = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)[0]
        best = -np.sort(-np.concatenate([best, cosines], axis=1), axis=1)[:, :k]
    return Truth(queries, best[:, k - 1], k)


def measure_recall(index: faiss.Index | Lists, keys: np.ndarray, truth: Truth) -> float:
    """Fraction of the exact ``truth.k`` nearest keys that a memory bank on ``index`` finds.

    The bank computes the cosines of more than ``truth.k`` candidates and keeps the nearest. A key that is as near as
    the last one of the exact result counts as found, because the order of equally near keys is no matter of recall.
    """
    found = index.search(truth.queries, candidates(truth.k, len(keys), rough=not isinstance(index, Lists)))[1]
    near = normalise(keys[np.maximum(found, 0).ravel()]).reshape(*found.shape, -1)
    cosines = np.where(found < 0, -np.inf, np.einsum("qd,qkd->qk", truth.queries, near))
    enough = np.sum(cosines >= truth.least[:, None] - _ROUNDING, axis=1)
    return float(np.mean(np.minimum(enough, truth.k) / truth.k))


def check_recall(
    index: faiss.Index | Lists, keys: np.ndarray, wanted: float = 0.0, queries: np.ndarray | None = None
) -> float:
    """Measure and log the recall of an approximate ``index`` over ``keys`` [N, D]. First reach ``wanted`` if it is > 0.

    The recall is that of the min(20, N) nearest keys of ``queries`` [Q, D]. By default they are 500 random keys, or
    those of some lists, each of which finds itself. A recall under ``wanted``, or under .95 if nothing is wanted, is a
    warning.
    """
    if queries is None:
        random = np.random.default_rng(0).permutation(len(keys))[:_QUERIES]
        queries = keys[index.sample(_IN_LISTS) if isinstance(index, Lists) else random]
    truth = exact_search(keys, queries, min(_K, len(keys)))
    knob, setting = _knob(index), ""
    if knob is not None:
        owner, name, most = knob
        if wanted > 0:

            def recall_at(value: int) -> float:
                setattr(owner, name, value)
                return measure_recall(index, keys, truth)

            setattr(owner, name, least_effort(recall_at, most, wanted))
        setting = f" with {name}={getattr(owner, name)}"
    recall = measure_recall(index, keys, truth)
    logging.getLogger().info(f"index finds {recall:.1%} of the exact {truth.k} nearest neighbours{setting}")
    if recall < (wanted or ENOUGH):
        mend = "use another index_factory" if wanted else "set index_recall"
        if "nprobe" in setting:
            setting += " (index_nprobe)"
            mend = mend if wanted else "raise index_nprobe, or set index_recall"
        logging.getLogger().warning(f"recall {recall:.3f} is under {wanted or ENOUGH}{setting}: {mend}")
    return recall


def facts_of(index: faiss.Index | Lists, factory: str, recall: float) -> dict[str, Any]:
    """What a result file says about an approximate index."""
    knob = _knob(index)
    setting = {} if knob is None else {knob[1]: getattr(knob[0], knob[1])}
    return {"factory": LISTS if isinstance(index, Lists) else factory, **setting, "recall": recall}


def _knob(index: faiss.Index | Lists) -> tuple[Any, str, int] | None:
    """As :func:`~recbole_raserec.retrieval.index.effort`."""
    return (index, "read", min(index.ntotal, MOST)) if isinstance(index, Lists) else effort(index)


def least_effort(recall_at: Callable[[int], float], most: int, wanted: float) -> int:
    """The smallest number from 1 to ``most`` whose recall reaches ``wanted``, by doubling and then bisection.

    The recall must not fall with the number. If no number reaches ``wanted``, it is the first with the best recall
    among those that doubling tries.
    """
    tried = {1: recall_at(1)}
    while max(tried.values()) < wanted and max(tried) < most:
        value = min(2 * max(tried), most)
        tried[value] = recall_at(value)
    if max(tried.values()) < wanted:
        return max(tried, key=lambda value: tried[value])
    low, high = max(tried) // 2, max(tried)  # low does not reach it
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if recall_at(middle) >= wanted else (middle, high)
    return high
