"""The frames that a recommender returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recbole_raserec.errors import ConfigError
from recbole_raserec.recommending.answer import View
from recbole_raserec.recommending.reasons import sentences
from recbole_raserec.recommending.request import Request, items_of

COLUMNS = ("user", "item", "score", "rank", "cold")


def recommendations(
    view: View, users: Sequence[Any], request: Request, k: int, allowed: np.ndarray, filter_seen: bool, reason: bool
) -> pd.DataFrame:
    """The best items of each history, a row each, with ``COLUMNS`` and, if wanted, ``reason``."""
    check_k(k, len(view.catalogue.allowed) - 1)
    tokens, cold = view.trained.items.tokens, view.is_cold(request)
    names = np.empty(len(users), object)
    names[:] = users
    parts = []
    for rows in view.blocks(request):
        best = view.best(request.take(rows), k, allowed, filter_seen)
        of = rows[best.row]
        items = np.array([tokens[item] for item in best.item], object)
        columns = dict(zip(COLUMNS, (pd.Series(names[of], dtype=object), items, best.score, best.rank, cold[of])))
        parts.append(pd.DataFrame({**columns, **({"reason": sentences(view, best, cold[rows])} if reason else {})}))
    if not parts:
        return pd.DataFrame({name: [] for name in (*COLUMNS, *(["reason"] if reason else []))})
    found = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    nobody = any(user is None for user in users)  # pandas would make NaN of None
    return found if nobody else found.assign(user=found["user"].infer_objects())


def similar(view: View, items: list[int], k: int) -> pd.DataFrame:
    """The ``k`` items with the nearest vectors by cosine, for each of ``items``."""
    check_k(k, len(view.catalogue.allowed) - 1)
    vectors = view.catalogue.scorer.item_vectors.detach().double().cpu().numpy()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    tokens, rows = view.trained.items.tokens, []
    for item in items:
        cosine = np.where(view.catalogue.allowed, unit @ unit[item], -np.inf)
        cosine[item] = -np.inf
        order = np.argsort(-cosine, kind="stable")[:k]
        order = order[cosine[order] > -np.inf]
        rows += [(tokens[item], tokens[near], cosine[near], rank) for rank, near in enumerate(order.tolist(), 1)]
    return pd.DataFrame(rows, columns=["item", "similar", "score", "rank"])


def allowed_items(view: View, items: Any, exclude: Any, on_unknown: str) -> np.ndarray:
    """[V] which items may be recommended: of ``items`` (None is all), without ``exclude``."""
    allowed = view.catalogue.allowed.copy()
    if items is not None:
        only = np.zeros_like(allowed)
        only[_numbers(view, items, on_unknown, "items")] = True
        allowed &= only
    if exclude is not None:
        allowed[_numbers(view, exclude, on_unknown, "exclude")] = False
    return allowed


def check_k(k: Any, most: int) -> None:
    """Raise ConfigError unless ``k`` is a number of items from 1 to ``most``."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ConfigError("k", k, "not a whole number from 1", "for example k=10")
    if k > most:
        raise ConfigError("k", k, f"there are only {most:,} items", f"give at most {most}")


def _numbers(view: View, tokens: Any, on_unknown: str, field: str) -> np.ndarray:
    """The numbers of a list of tokens, without items that came after ``view``."""
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
        raise ConfigError(field, tokens, "not a list of item tokens", f"for example {field}=['50', '172']")
    found = items_of(tokens, view.trained.items, field, on_unknown)
    return found[found < len(view.catalogue.allowed)]
