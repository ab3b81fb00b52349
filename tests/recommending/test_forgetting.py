"""What is forgotten, or has expired, is in no later answer."""

from __future__ import annotations

import pandas as pd
import pytest

from recbole_raserec import DataError
from tests.recommending.conftest import HISTORY, reopened


def test_forgetting_gives_the_lists_from_before(recommender):
    before = recommender.recommend([HISTORY, ["i20", "i21"]], k=60)
    recommender.memory.add_many([HISTORY] * 5, ["i50"] * 5, owners=["eve"] * 5, times=[1.0, 2.0, 3.0, None, None])
    assert not recommender.recommend([HISTORY, ["i20", "i21"]], k=60).equals(before)
    assert recommender.memory.forget(owner="eve") == 5
    pd.testing.assert_frame_equal(recommender.recommend([HISTORY, ["i20", "i21"]], k=60), before)


def test_forgetting_gives_new_items_the_scores_from_before(recommender):
    recommender.memory.add(HISTORY, "new1", owner="ann")
    before = recommender.recommend([HISTORY], k=61, filter_seen=False)
    assert "new1" in set(before["item"])
    others = [[f"i{n % 60}", f"i{n % 7}"] for n in range(100)]
    recommender.memory.add_many(others, [f"i{n % 50}" for n in range(100)], owners=["eve"] * 100)
    assert recommender.memory.forget(owner="eve") == 100
    pd.testing.assert_frame_equal(recommender.recommend([HISTORY], k=61, filter_seen=False), before)


def test_what_is_older_than_a_time_is_forgotten(recommender):
    recommender.memory.add_many([HISTORY] * 5, ["i50"] * 5, owners=["eve"] * 5, times=[1.0, 2.0, 3.0, None, None])
    assert recommender.memory.expire(before=3.0) >= 2  # of the model's own, too
    recommender.memory.compact()
    assert recommender.memory.forget(owner="eve") == 3
    assert recommender.memory.forget(owner="eve") == 0


def test_a_trained_user_can_be_forgotten(trained, recommender):
    user = max(trained.sequences, key=lambda u: len(trained.sequences[u]))
    number = len(trained.sequences[user]) - 3
    count = len(recommender.memory)
    assert recommender.memory.forget(owner=user) == number
    assert len(recommender.memory) == count - number
    assert len(reopened(recommender, trained).memory) == count - number


def test_a_moment_has_nothing_that_was_forgotten_since(recommender):
    recommender.memory.add(HISTORY, "new", owner="anna", time=5.0)
    early = recommender.as_of(1e12)
    assert "new" in early.recommend([HISTORY], k=60)["item"].tolist()
    count = len(early.view().snapshot)
    recommender.memory.forget(owner="anna")
    assert len(early.view().snapshot) == count - 1
    assert "new" not in early.items


def test_a_forgotten_item_is_in_no_answer(trained, recommender):
    recommender.memory.add(HISTORY, "brand-new", owner="eve")
    assert recommender.similar_items("brand-new", k=3)["similar"].nunique() == 3
    recommender.memory.forget(owner="eve")
    assert recommender.items == [token for token in recommender.items if token != "brand-new"]
    for wrong in (lambda: recommender.explain(HISTORY, "brand-new"), lambda: recommender.similar_items("brand-new")):
        with pytest.raises(DataError, match="an unknown item"):
            wrong()
    again = reopened(recommender, trained)
    assert "brand-new" not in again._trained.items
