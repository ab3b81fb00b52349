from __future__ import annotations

import pandas as pd
import pytest

from recbole_raserec import ConfigError, DataError, Recommender

SMALL = {"hidden_size": 16, "inner_size": 32, "cross_inner_size": 32, "MAX_ITEM_LIST_LENGTH": 8, "top_k": 5}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Everybody goes from item n to item n + 1, once a day."""
    start = pd.Timestamp("2024-01-01")
    rows = [(f"c{u}", f"p{(u + n) % 30}", start + pd.Timedelta(days=n)) for u in range(60) for n in range(4 + u % 9)]
    return pd.DataFrame(rows, columns=["customer", "product", "date"]).sample(frac=1, random_state=0)


def test_three_lines_from_a_frame_to_recommendations(frame):
    names = pd.DataFrame({"product": [f"p{n}" for n in range(30)], "title": [f"Part {n}" for n in range(30)]})
    training = {"epochs": 15, "finetune_epochs": 2, "learning_rate": 0.01, "hidden_dropout_prob": 0.1, **SMALL}
    recommender = Recommender.fit(
        frame, user="customer", item="product", time="date", item_table=names, title="title", **training
    )
    best = recommender.recommend([["p3", "p4", "p5"], ["p20"]], k=1)
    assert best["item"].tolist() == ["p6", "p21"]
    assert recommender.title("p6") == "Part 6"
    times = recommender.explain(["p3", "p4"], "p5").memories["time"]
    assert times.between(pd.Timestamp("2024-01-01").timestamp(), pd.Timestamp("2024-02-01").timestamp()).all()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"user": "client"}, "client"), ({"data_path": "x"}, "data_path"), ({"alfa": 0.5}, "alfa")],
)
def test_bad_input_is_one_error_before_training(frame, wrong, field):
    given = {"user": "customer", "item": "product", "time": "date", **wrong}
    with pytest.raises((ConfigError, DataError), match=field):
        Recommender.fit(frame, **given)
