"""Explanations by token: the memories behind a recommendation, without the names of the people they are of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from recbole_raserec.recommending.answer import Best, View
from recbole_raserec.recommending.request import Request
from recbole_raserec.retrieval.explain import POPULAR, people, sentence
from recbole_raserec.retrieval.neighbours import NO_MEMORY


@dataclass(frozen=True)
class Explanation:
    """Why a history gets an item.

    Attributes
    ----------
    item, title : the item.
    sentence : the reason, for people.
    score : the item's score before the mixture. It is ``own`` (the part of the history itself), plus the sum of the
        memories' ``contribution``, plus ``constant`` (the part of the model's biases).
    memories : a frame, nearest first, of the memories that the answer was made from: ``item`` that followed,
        ``person`` (a number within this explanation; 0 is nobody), ``cosine``, ``attention`` (share), ``contribution``
        (to the score), ``vote`` (weight of the memory's item in the mixture), ``length`` of the history behind it and
        ``time``.
    """

    item: str
    title: str
    sentence: str
    score: float
    own: float
    constant: float
    memories: pd.DataFrame


def explain(view: View, request: Request, item: int) -> Explanation:
    """The explanation of ``item`` for one history."""
    tokens, snapshot = view.trained.items.tokens, view.snapshot
    named = tokens[item], view.trained.title(item)
    if view.is_cold(request)[0]:
        score = float(view.popular()[item])
        return Explanation(*named, POPULAR, score, score, 0.0, pd.DataFrame(columns=_COLUMNS))
    vectors = view.encode(request)
    found = view.retrieve(vectors, request)
    reasons = view.catalogue.scorer.reasons(
        torch.from_numpy(vectors).to(view.catalogue.scorer.item_vectors.device), view.neighbours(found), item
    )
    rows = found[0][found[0] != NO_MEMORY]
    n, owners = len(rows), snapshot.owners(rows)
    columns = {
        "item": [tokens[target] for target in snapshot.targets(rows).tolist()],
        "person": _anonymous(owners),
        "cosine": reasons.cosine[:n],
        "attention": reasons.attention[:n],
        "contribution": reasons.contribution[:n],
        "vote": reasons.vote[:n],
        "length": snapshot.lengths(rows),
        "time": snapshot.times(rows),
    }
    why = sentence(*people(rows, snapshot.targets(rows), owners, item), view.trained.model.combination.retrieves)
    return Explanation(
        *named, why, reasons.score, reasons.own, reasons.constant, pd.DataFrame(columns, columns=_COLUMNS)
    )


def sentences(view: View, best: Best, cold: np.ndarray) -> list[str]:
    """The reason of each recommendation; ``cold`` [B] says which histories have no known item."""
    targets, owners = view.snapshot.targets(best.found), view.snapshot.owners(best.found)
    used = view.trained.model.combination.retrieves
    return [
        POPULAR if cold[row] else sentence(*people(best.found[row], targets[row], owners[row], item), used)
        for row, item in zip(best.row.tolist(), best.item.tolist())
    ]


def _anonymous(owners: np.ndarray) -> np.ndarray:
    """[K] numbers of the owners in the order of their first occurrence; 0 stays 0."""
    _, first, number = np.unique(owners, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(np.where(owners[first] == 0, -1, first)))
    return order[number.ravel()] + (0 if (owners == 0).any() else 1)


_COLUMNS = ["item", "person", "cosine", "attention", "contribution", "vote", "length", "time"]
