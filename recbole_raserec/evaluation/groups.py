"""Metrics of groups of users, by the popularity of their test item and by the length of their history."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.evaluation.metrics import Metrics, both_protocols
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.evaluation.significance import Resampling, improvements

QUINTILES = 5
HEAD = 0.2  # fraction of the items, the most frequent ones


def popularity_groups(targets: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of each popularity group of the target: ``{name: [R] bool}``.

    Items are sorted by their number of occurrences in training, ties by id. Quintile 1 is the rarest fifth of the
    items. Quintile 5 is the most frequent fifth; it is also the head. The tail is all other items.

    Parameters
    ----------
    targets : [R] items to predict.
    counts : [V] occurrences of each item in training, including padding's.
    """
    number = len(counts) - 1
    order = np.empty(number, np.int64)
    order[np.argsort(counts[1:], kind="stable")] = np.arange(number)
    place = order[targets - 1] / max(number, 1)  # 0 rarest .. < 1 most frequent
    head = place >= 1 - HEAD
    quintile = np.minimum((place * QUINTILES).astype(int), QUINTILES - 1)
    groups = {"head": head, "tail": ~head}
    return groups | {f"quintile {fifth + 1}": quintile == fifth for fifth in range(QUINTILES)}


def length_groups(lengths: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of each group of history lengths: ``{"1-4": [R] bool, "5-9": ..., ..., "20-49": ..., "50-": ...}``."""
    edges = (1, 5, 10, 20, 50)
    groups = {f"{low}-{high - 1}": (lengths >= low) & (lengths < high) for low, high in zip(edges, edges[1:])}
    return groups | {f"{edges[-1]}-": lengths >= edges[-1]}


def user_groups(part: Prefixes, counts: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The rows of each group of each kind: ``{"item_popularity": {group: [R] bool}, "history_length": ...}``.

    ``counts`` [V] are those of :func:`popularity_groups`. A group without users is left out.
    """
    kinds = {
        "item_popularity": popularity_groups(part.targets, counts),
        "history_length": length_groups(part.lengths),
    }
    return {kind: {name: rows for name, rows in groups.items() if rows.any()} for kind, groups in kinds.items()}


def group_metrics(
    base: Ranks,
    new: Ranks,
    part: Prefixes,
    counts: np.ndarray,
    metrics: Metrics,
    resampling: Resampling,
) -> dict[str, dict[str, Any]]:
    """``{"item_popularity": {group: ...}, "history_length": {group: ...}}`` for backbone and RaSeRec.

    Each group has its number of ``users``, the metrics of both systems under both protocols, and the paired
    ``improvement``. A group without users is left out.
    """
    return {
        kind: {name: _of(base, new, rows, metrics, resampling) for name, rows in groups.items()}
        for kind, groups in user_groups(part, counts).items()
    }


def _of(base: Ranks, new: Ranks, rows: np.ndarray, metrics: Metrics, resampling: Resampling) -> dict[str, Any]:
    before, after = (Ranks(ranks.unmasked[rows], ranks.masked[rows]) for ranks in (base, new))
    return {
        "users": int(rows.sum()),
        "backbone": both_protocols(before, metrics),
        "raserec": both_protocols(after, metrics),
        "improvement": improvements(before, after, metrics, resampling),
    }
