from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec import ConfigError
from recbole_raserec.data.histories import read_histories
from recbole_raserec.evaluation.significance import unpack_ranks
from recbole_raserec.recommending import answer
from recbole_raserec.recommending.answer import View
from tests.recommending.conftest import HISTORY


def lists(frame: pd.DataFrame, count: int) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(count)]
    for user, item in zip(frame["user"], frame["item"]):
        found[user].append(item)
    return found


@pytest.mark.parametrize("filter_seen", [False, True])
def test_ranks_through_recommend_are_those_of_the_result(trained, recommender, filter_seen):
    """The test part: each user of three items or more, without the last item, ranked in all items."""
    users = [user for user, items in trained.sequences.items() if len(items) >= 3]
    histories, targets = [trained.sequences[user][:-1] for user in users], [trained.sequences[u][-1] for u in users]
    frame = recommender.recommend(histories, k=len(recommender.items), filter_seen=filter_seen, users=users)
    rank = {(user, item): rank for user, item, rank in zip(frame["user"], frame["item"], frame["rank"])}
    found = [rank.get((user, target), 10**6) for user, target in zip(users, targets)]
    packed = trained.result["test_ranks"]["train"]["masked" if filter_seen else "unmasked"]
    expected = unpack_ranks(packed)
    deepest = 20  # ranks beyond the last cut-off are not kept
    assert len(expected) == len(found)
    assert [min(r, deepest + 1) for r in found] == [min(r, deepest + 1) for r in expected.tolist()]


def test_an_answer_does_not_depend_on_the_other_histories(recommender, histories):
    together = recommender.recommend(histories, k=7)
    alone = [recommender.recommend([history], k=7) for history in histories[:150]]
    for number, frame in enumerate(alone):
        mine = together[together["user"] == number]
        assert mine["item"].tolist() == frame["item"].tolist()
        assert mine["score"].tolist() == frame["score"].tolist()


def test_a_vector_does_not_depend_on_its_place_or_its_company(recommender):
    """Of every length, beside others of every length, and at every place of a block."""
    rng = np.random.default_rng(0)
    given = [[f"i{n}" for n in rng.integers(0, 60, length)] for length in range(1, 14)]
    alone = np.concatenate([recommender.embed([history]) for history in given])
    for turn in range(20):
        order = np.random.default_rng(turn).permutation(
            np.repeat(np.arange(len(given)), rng.integers(0, 4, len(given)))
        )
        if len(order):
            assert np.array_equal(recommender.embed([given[n] for n in order]), alone[order])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.sampled_from([8, 20, 50]))
def test_the_shape_of_a_block_is_a_matter_of_the_own_length_alone(lengths, longest):
    lengths = np.minimum(lengths, longest)
    widths = answer._widths(lengths, longest)
    assert (widths >= lengths).all() and widths.max() <= longest
    seen = []
    for block in answer._blocks(widths):
        alone = next(answer._blocks(answer._widths(lengths[block[:1]], longest)))
        assert len(block) == len(alone) and len(set(widths[block])) == 1
        seen += block.tolist()
    assert set(seen) == set(range(len(lengths)))


def test_the_frame(recommender):
    frame = recommender.recommend([["i1", "i2"], []], k=4, users=["anna", None])
    assert list(frame.columns) == ["user", "item", "score", "rank", "cold"]
    assert frame["rank"].tolist() == [1, 2, 3, 4] * 2
    assert frame["cold"].tolist() == [False] * 4 + [True] * 4
    assert frame["user"].tolist() == ["anna"] * 4 + [None] * 4
    assert (frame.groupby("cold")["score"].diff().dropna() <= 0).all()


def test_a_history_without_items_gets_the_most_frequent_ones(trained, recommender):
    held_out = {user: min(max(len(items) - 2, 0), 2) for user, items in trained.sequences.items()}
    training = [i for user, items in trained.sequences.items() for i in items[: len(items) - held_out[user]]]
    counts = pd.Series(training).value_counts()
    frame = recommender.recommend([[]], k=10)
    assert frame["score"].tolist() == sorted(counts, reverse=True)[:10]
    assert all(counts[item] == score for item, score in zip(frame["item"], frame["score"]))


def test_what_may_be_recommended(recommender):
    history = ["i1", "i2", "i3"]
    everything = recommender.recommend([history], k=60)
    assert len(everything) == 57
    assert not set(history) & set(everything["item"])
    assert len(recommender.recommend([history], k=60, filter_seen=False)) == 60
    few = recommender.recommend([history], k=3, items=["i9", "i1", "i7"])
    assert set(few["item"]) == {"i9", "i7"}
    order = [item for item in everything["item"] if item in {"i9", "i7"}]
    assert few["item"].tolist() == order
    best = everything["item"][0]
    assert recommender.recommend([history], k=1, exclude=[best])["item"].tolist() == [everything["item"][1]]
    assert recommender.recommend([history], k=3, items=[]).empty


def test_frames_and_arrow_tables_are_lists(recommender):
    frame = pd.DataFrame(
        {"user": ["b", "a", "b", "a"], "item": ["i5", "i2", "i4", "i1"], "timestamp": [9, 7, 3, 5]},
    )
    by_lists = recommender.recommend([["i4", "i5"], ["i1", "i2"]], users=["b", "a"])
    as_text = frame.assign(timestamp=["10", "7", "9", "5"])  # 10 comes after 9, also as text
    elsewhere = frame.set_index(pd.Index([3, 9, 4, 1]))
    for table in (frame, pa.Table.from_pandas(frame), as_text, elsewhere, elsewhere.iloc[[2, 0, 3, 1]].iloc[:, :2]):
        found = recommender.recommend(table)
        assert found["user"].unique().tolist() == ["b", "a"]
        for user in ("a", "b"):
            one, other = (f[f["user"] == user].reset_index(drop=True) for f in (found, by_lists))
            pd.testing.assert_frame_equal(one, other)


def test_a_users_own_future_is_no_memory_and_nobodys_history_has_no_own(trained, recommender):
    user = max(trained.sequences, key=lambda u: len(trained.sequences[u]))
    history = trained.sequences[user][:5]
    view: View = recommender.view()
    number = view.trained.users.find(user)
    for users, leaks in (([user], False), (None, True)):
        frame = recommender.explain(history, "i1", user=user if users else None).memories
        assert len(frame) == view.trained.model.depth
        request = recommender._request(
            read_histories([history], users),
            "raise",
        )
        rows = view.retrieve(view.encode(request), request)[0]
        own = view.snapshot.owners(rows) == number
        assert (view.snapshot.lengths(rows)[own] >= 5).any() == leaks


def test_explanations_add_up(recommender):
    history = ["i1", "i2", "i3", "i4"]
    frame = recommender.recommend([history], k=5, explain=True, filter_seen=False)
    scores = recommender.embed([history])[0] @ recommender.item_vectors().T
    for item, reason in zip(frame["item"], frame["reason"]):
        found = recommender.explain(history, item)
        assert found.sentence == reason
        assert found.title == f"Item number {item[1:]}"
        memories = found.memories
        assert found.score == pytest.approx(float(scores[recommender.items.index(item)]), abs=1e-5)
        assert found.own + memories["contribution"].sum() + found.constant == pytest.approx(found.score, abs=1e-5)
        assert memories["attention"].sum() == pytest.approx(1, abs=1e-5)
        assert (memories["attention"] > 0).sum() == 5
        assert memories["cosine"].is_monotonic_decreasing
        weight = recommender.view().trained.model.mixture.weight
        assert memories["vote"].sum() == pytest.approx(weight, abs=1e-6)
        chose = memories[memories["item"] == item]["person"].nunique()
        assert (f"because {chose} p" in reason) == (chose > 0)


def test_the_constant_is_the_same_for_all_memories(recommender):
    """What is left over is the attention's biases, so it must not depend on the history."""
    constants = [recommender.explain([f"i{n}", f"i{n + 2}"], "i40").constant for n in range(5)]
    assert constants == pytest.approx([constants[0]] * 5, abs=1e-5)
    assert abs(constants[0]) > 1e-9


def test_similar_items_are_the_nearest_by_cosine(recommender):
    vectors = recommender.item_vectors().astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    frame = recommender.similar_items(["i7", "i8"], k=3)
    for item in ("i7", "i8"):
        at = recommender.items.index(item)
        near = [n for n in np.argsort(-(unit @ unit[at])) if n != at][:3]
        assert frame[frame["item"] == item]["similar"].tolist() == [recommender.items[n] for n in near]
    assert frame["rank"].tolist() == [1, 2, 3] * 2


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_exported_vectors_are_those_of_the_scores(recommender, tmp_path, form):
    paths = recommender.export(tmp_path / "vectors", form)
    if form == "parquet":
        items, memories = (pd.read_parquet(path) for path in paths)
        vectors = np.stack(items["vector"].to_list())
    else:
        vectors, items, memories = np.load(paths[0]), *(pd.read_json(paths[n], lines=True) for n in (1, 3))
        assert len(np.load(paths[2])) == len(memories)
    assert items["item"].tolist() == recommender.items
    assert items["title"][0].startswith("Item number")
    assert np.array_equal(vectors, recommender.item_vectors())
    assert len(memories) == len(recommender.memory)
    assert "owner" not in memories
    with pytest.raises(ConfigError, match="form"):
        recommender.export(tmp_path, "csv")


def test_a_history_without_memories_has_no_popularity_as_its_reason(recommender):
    none = recommender.as_of(-1e9)
    assert not len(none.view().snapshot)
    frame = none.recommend([HISTORY, []], k=3, explain=True)
    assert frame["reason"].tolist() == ["because it fits your history"] * 3 + ["because it is popular"] * 3
    assert none.explain(HISTORY, "i50").sentence == "because it fits your history"
    assert none.explain([], "i50").sentence == "because it is popular"
