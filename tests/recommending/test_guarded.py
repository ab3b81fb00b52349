"""A guarded recommender: the model's own answers stay, and the answers to additions are explained as before."""

from __future__ import annotations

import pandas as pd
import pytest

from recbole_raserec import DataError, Recommender

HISTORY = ["i3", "i4", "i5"]
LIMITS = {"max_per_owner": 50, "votes_per_owner": 2.0, "quarantine": 3600.0, "new_item_owners": 2}


def test_limits_change_no_answer_of_the_model_itself(trained, recommender, tmp_path, histories):
    guarded = Recommender.load(trained.path, store=tmp_path / "guarded.memory", **LIMITS)
    pd.testing.assert_frame_equal(guarded.recommend(histories[:100]), recommender.recommend(histories[:100]))


def test_one_owner_moves_less_than_many_and_reasons_add_up(trained, tmp_path):
    scores = []
    for name, owners in (("one", ["eve"] * 12), ("many", [f"n{n}" for n in range(12)]), ("none", [])):
        guarded = Recommender.load(trained.path, store=tmp_path / f"{name}.memory", votes_per_owner=1.0)
        if owners:
            guarded.memory.add_many([HISTORY] * 12, ["i50"] * 12, owners)
        found = guarded.explain(HISTORY, "i50")
        memories = found.memories
        assert found.own + memories["contribution"].sum() + found.constant == pytest.approx(found.score, abs=1e-5)
        frame = guarded.recommend([HISTORY], k=60)
        scores.append(dict(zip(frame["item"], frame["score"]))["i50"])
    one, many, none = scores
    assert many > one
    assert abs(one - none) < abs(many - none)


def test_a_new_item_needs_its_owners(trained, tmp_path):
    guarded = Recommender.load(trained.path, store=tmp_path / "m", new_item_owners=3)

    def is_recommended() -> bool:
        return "new" in guarded.recommend([HISTORY], k=61)["item"].tolist()

    for owners in (["a"] * 5, [None] * 3):
        guarded.memory.add_many([HISTORY] * len(owners), ["new"] * len(owners), owners)
        assert not is_recommended()
    guarded.memory.add(HISTORY, "new", "b")
    assert is_recommended()
    guarded.memory.forget(owner="a")
    assert not is_recommended()


def test_too_many_of_an_owner_are_refused_and_undone_by_time(trained, tmp_path):
    guarded = Recommender.load(trained.path, store=tmp_path / "m", max_per_owner=2)
    before = guarded.recommend([HISTORY], k=60)
    guarded.memory.add_many([HISTORY] * 2, ["i50"] * 2, ["eve"] * 2)
    with pytest.raises(DataError, match="owner='eve'"):
        guarded.memory.add(HISTORY, "i50", "eve")
    assert guarded.memory.forget(added_since="2999-01-01") == 0
    assert guarded.memory.forget(added_since="2020-01-01") == 2
    pd.testing.assert_frame_equal(guarded.recommend([HISTORY], k=60), before)
    with pytest.raises(DataError, match="added_since"):
        guarded.memory.forget(added_since="soon")
