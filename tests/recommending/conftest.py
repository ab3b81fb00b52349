"""A history, and a second recommender of one store."""

from __future__ import annotations

from recbole_raserec import Recommender
from tests.conftest import Trained

HISTORY = ["i3", "i4", "i5"]


def reopened(recommender: Recommender, trained: Trained) -> Recommender:
    """Another recommender of the same model and store, as in another process."""
    return Recommender.load(trained.path, store=recommender._living._store.path)
