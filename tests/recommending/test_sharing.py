"""Recommenders of several processes that share one store: each answers with what the others wrote before."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.recommending.conftest import HISTORY, reopened


@pytest.fixture
def other(trained, recommender):
    found = reopened(recommender, trained)
    yield found
    found.memory.close()


def test_two_recommenders_of_one_store_see_each_other(recommender, other):
    recommender.memory.add(HISTORY, "i50", owner="a")
    pd.testing.assert_frame_equal(other.recommend([HISTORY], k=60), recommender.recommend([HISTORY], k=60))
    other.memory.forget(owner="a")
    assert len(recommender.view().snapshot) == len(other.view().snapshot)


@pytest.mark.parametrize(
    "ask",
    [
        lambda there: there.recommend([["i1", "new"]], k=5)["item"].tolist(),
        lambda there: there.recommend([["i1", "new"]], k=61, on_unknown="ignore")["item"].tolist(),
        lambda there: there.recommend([HISTORY], k=5, items=["new", "i1"])["item"].tolist(),
        lambda there: there.recommend([HISTORY], k=60, users=["anna"])["score"].tolist(),
        lambda there: there.explain(HISTORY, "new").sentence,
        lambda there: there.similar_items("new", 3)["similar"].tolist(),
        lambda there: there.embed([["i1", "new"]]).tolist(),
        lambda there: there.title("new"),
        lambda there: there.memory.add(["i1", "new"], "i2") > 0,
    ],
)
def test_the_first_request_knows_anothers_items_and_owners(recommender, other, ask):
    recommender.memory.add(HISTORY, "new", owner="anna")
    recommender.memory.add(["i3", "i4", "i5", "i6"], "i50", owner="anna")
    assert ask(other) == ask(recommender)
