"""What the recommender refuses, and how."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recbole_raserec import ConfigError, DataError, Recommender
from recbole_raserec.training import checkpoints


def test_unknown_items(recommender):
    plain = recommender.recommend([["i1", "i2"]])
    with pytest.raises(DataError, match=r"history 0='x9'.*unknown item"):
        recommender.recommend([["i1", "x9", "i2"]])
    with pytest.warns(UserWarning, match="x9"):
        warned = recommender.recommend([["i1", "x9", "i2"]], on_unknown="warn")
    pd.testing.assert_frame_equal(warned, plain)
    pd.testing.assert_frame_equal(recommender.recommend([["i1", "x9", "i2"]], on_unknown="ignore"), plain)
    assert recommender.recommend([["x9"]], on_unknown="ignore")["cold"].all()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"histories": "i1"}, "histories"),
        ({"histories": 5}, "histories"),
        ({"histories": {"i1": 2}}, "histories"),
        ({"histories": [["i1"], "i2"]}, "history 1"),
        ({"histories": [["i1", None]]}, "history 0"),
        ({"histories": [["i1", float("nan")]]}, "history 0"),
        ({"histories": [["i1", 2.5]]}, "history 0"),
        ({"histories": [["i1", True]]}, "history 0"),
        ({"histories": [["i1", ""]]}, "history 0"),
        ({"histories": [["i1"] * 1_000_000]}, "history 0"),
        ({"histories": np.array([[["i1"]]])}, "history 0"),
        ({"histories": [["i1", "\ud800"]]}, "history 0"),
        ({"histories": pd.DataFrame({"item": ["i1"]})}, "histories"),
        ({"histories": pd.DataFrame([["a", "i1", "i2"]], columns=["user", "item", "item"])}, "histories='item': two"),
        ({"histories": pd.DataFrame({"user": ["a"], "item": pd.array([None], "Int64")})}, "item"),
        ({"histories": pd.DataFrame({"user": ["a", "a"], "item": pd.array([1.5, None], "Float64")})}, "item"),
        ({"histories": pd.DataFrame({"user": ["a"], "item": [np.inf]})}, "item"),
        ({"histories": pd.DataFrame({"user": ["a"], "item": pd.array([None], "string")})}, "item"),
        ({"histories": pd.DataFrame({"user": ["a"], "item": [None]})}, "item"),
        ({"histories": pd.DataFrame({"user": ["a"], "item": ["i1"], "timestamp": [np.nan]})}, "row 0"),
        ({"histories": pd.DataFrame({"user": ["a", "a"], "item": ["i1", "i2"], "timestamp": [1, "noon"]})}, "row 1"),
        ({"k": 0}, "k"),
        ({"k": -3}, "k"),
        ({"k": 2.0}, "k"),
        ({"k": True}, "k"),
        ({"k": 10**9}, "k"),
        ({"items": "i1"}, "items"),
        ({"items": ["x9"]}, "items"),
        ({"exclude": [["i1"]]}, "exclude"),
        ({"users": ["a", "b"]}, "users"),
        ({"users": [2.5]}, "user=2.5"),
        ({"histories": [["i1"], ["i2"]], "users": ["a", ""]}, "user 1"),
        ({"on_unknown": "skip"}, "on_unknown"),
    ],
)
def test_bad_input_is_one_clear_error(recommender, wrong, field):
    with pytest.raises((ConfigError, DataError)) as error:
        recommender.recommend(**{"histories": [["i1", "i2"]], **wrong})
    assert str(error.value).startswith(field)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("item", [None, 1.5, "x9", ["i1", "x9"]])
def test_an_item_to_compare_with_is_known(recommender, item):
    with pytest.raises(DataError, match=r"^items") as error:
        recommender.similar_items(item)
    assert "on_unknown" not in str(error.value)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta:x"])
def test_a_device_that_is_not_here_is_a_clear_error(trained, device):
    with pytest.raises(ConfigError, match=f"device='{device}': cannot be used"):
        Recommender.load(trained.path, device=device)


def test_a_file_of_another_kind_is_a_clear_error(trained, tmp_path):
    for content in (b"", b"PK\3\4 torn", trained.path.read_bytes()[:-2000]):
        path = tmp_path / "model.pth"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="model_file"):
            Recommender.load(path)
    with pytest.raises(ConfigError, match="no such file"):
        Recommender.load(tmp_path / "missing.pth")
    with pytest.raises(ConfigError, match="cannot be read"):
        Recommender.load(tmp_path)
    for recall in (2, "high"):
        with pytest.raises(ConfigError, match=r"^index_recall"):
            Recommender.load(trained.path, index_recall=recall)
    other = next(trained.path.parent.glob("*-pretrain-*.pth"))
    with pytest.raises(ConfigError, match="pretrain"):
        Recommender.load(other)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda state: state.pop("item_counts"), "its parts do not fit together"),
        (lambda state: state.update(item_tokens=state["item_tokens"][:-3]), "its parts do not fit together"),
        (lambda state: state["memory"].pop("keys"), "its parts do not fit together"),
        (lambda state: state.update(config={}), "its parts do not fit together"),
        (lambda state: state.pop("user_tokens"), "an earlier version wrote it, without the users' names"),
        (lambda state: state.update(stage="pretrain"), "it holds stage pretrain"),
    ],
)
def test_a_model_file_whose_parts_do_not_fit_is_a_clear_error(trained, tmp_path, damage, says):
    state = checkpoints.load(trained.path, "cpu")
    damage(state)
    checkpoints.save(tmp_path / "damaged.pth", state)
    with pytest.raises(ConfigError, match=says) as caught:
        Recommender.load(tmp_path / "damaged.pth")
    assert caught.value.field == "model_file"
