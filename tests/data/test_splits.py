"""The parts of a split by time: what a brute force over the interactions says, and no future in the past."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_raserec import ConfigError, DataError, SequenceDataset, run
from recbole_raserec.data.sequences import Sequences
from recbole_raserec.data.splits import by_time
from recbole_raserec.training import rank as rank_module

SHARES = [0.6, 0.2, 0.2]


def sequences_of(stories: list[list[int]]) -> Sequences:
    """Users with interactions at these times; the items only count up."""
    users = np.repeat(np.arange(1, len(stories) + 1), [len(story) for story in stories])
    times = np.concatenate([np.sort(story) for story in stories]).astype(float)
    whole = Sequences.from_sorted(users, np.arange(1, len(times) + 1), times)
    split = by_time(whole.offsets, times, SHARES, "data")
    return Sequences(whole.items, whole.offsets, whole.users, times=times, split=split)


@settings(max_examples=200)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=8), min_size=2, max_size=8))
def test_the_parts_are_those_of_brute_force(stories):
    try:
        found = sequences_of(stories)
    except DataError:
        assume(False)
    times = np.sort(np.concatenate(stories))
    first, second = (times[min(round(share * len(times)), len(times) - 1)] for share in (0.6, 0.8))
    pairs = [  # sequence, time of the target, position of the target
        (n, int(found.times[at]), at)
        for n in range(len(stories))
        for at in range(found.offsets[n] + 1, found.offsets[n + 1])
    ]

    def positions(low: float, high: float) -> list[int]:
        return [at for _, time, at in pairs if low <= time < high]

    assert found.train_part().target_at.tolist() == positions(-1, first)
    assert found.known_part().target_at.tolist() == positions(first, second)
    assert found.later_part().target_at.tolist() == positions(second, np.inf)
    for part, low, high in ((found.valid_part(), first, second), (found.test_part(), second, np.inf)):
        inside = [(n, at) for n, time, at in pairs if low <= time < high]
        assert list(zip(part.sequence.tolist(), part.target_at.tolist())) == [
            (n, min(at for m, at in inside if m == n)) for n in dict.fromkeys(n for n, _ in inside)
        ]


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([0, 1, 2, 3, 0, 1, 2], "only number each user's items"),
        ([1, 2, 3, 4, 1, 2, 3], "only number each user's items"),
        ([0, 2, 3, 5, 1, 2, 4], "only number each user's items"),  # items were filtered
        ([1, 2, np.nan, 4, 1, 2, 3], "timestamps are missing"),
        ([5, 5, 5, 5, 5, 5, 5], "no pair for training"),
        ([1, 2, 3, 4, 1000, 1001, 1002], "no pair for validation"),
    ],
)
def test_times_that_cannot_be_split_are_an_error(times, says):
    with pytest.raises(DataError, match=says):
        by_time(np.array([0, 4, 7]), np.array(times, float), [0.5, 0.1, 0.4], "data")


def write(folder, rows: list[tuple[int, int, int]]) -> None:
    (folder / "timed").mkdir()
    lines = [f"u{user}\ti{item}\t{time}" for user, item, time in rows]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "timed" / "timed.inter").write_text("\n".join([head, *lines]) + "\n")


SMALL = {
    "hidden_size": 16, "inner_size": 16, "epochs": 2, "finetune_epochs": 1, "show_progress": False, "split": "time",
    "time_shares": [0.6, 0.2, 0.2], "top_k": 3, "bootstrap_samples": 100, "result_file": "result.json",
    "safeguard": False, "retrieval_strength": 1.0, "popularity_adjustment": 0.0,
}  # fmt: skip


def test_a_run_has_a_third_memory_that_grows_with_the_test(own_folder, capsys):
    timed_walks(own_folder)
    result = run("RaSeRec", "timed", config_dict={**SMALL, "data_path": str(own_folder)})
    assert list(result["raserec"]["test_by_memory"]) == ["train", "train+valid", "living"]
    assert "RaSeRec, all until then" in capsys.readouterr().out
    content = json.loads((own_folder / "result.json").read_text())
    assert set(content["test_ranks"]) == {"backbone", "train", "train+valid", "living"}
    other = run("RaSeRec", "timed", config_dict={**SMALL, "data_path": str(own_folder), "time_shares": [0.5, 0.3, 0.2]})
    assert other["test_users"] == result["test_users"]  # the test begins at the same moment
    assert other["backbone"]["valid"] != result["backbone"]["valid"]


def timed_walks(folder, length: int = 8) -> None:
    rng = np.random.default_rng(0)
    write(folder, [
        (user, int(rng.integers(30)), int(begin + step))
        for user, begin in enumerate(rng.integers(0, 100, 60))
        for step in range(length)
    ])  # fmt: skip


def test_no_memory_is_as_new_as_the_pair_that_it_helps_to_predict(own_folder, monkeypatch):
    timed_walks(own_folder)
    seen = []
    monkeypatch.setattr(
        rank_module, "_rank", lambda reader, queries, *more, rank=rank_module._rank: seen.append(queries) or rank(
            reader, queries, *more)
    )  # fmt: skip
    run("RaSeRec", "timed", config_dict={**SMALL, "data_path": str(own_folder)})
    _, train, frozen, living = seen
    begin = living.prefixes.times.min()  # of the test
    assert np.nanmax(train.memory.times) < np.nanmax(frozen.memory.times) < begin
    found, times = living.indices.numpy(), living.prefixes.times[:, None]
    assert (living.memory.times[found][found >= 0] >= begin).any()
    assert ((living.memory.times[found] < times) | (found < 0)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [{"regenerate": "DR4SR", "regenerate_parts": ["original", "patterns"], "pattern_min_support": 2},
     {"memory_include_valid": True, "memory": ["pairs", "patterns"], "pattern_min_support": 2},
     {"drift_shares": [0.5], "portrait": True}, {"backbone": "GRU4Rec"}],
)  # fmt: skip
def test_it_goes_with_the_other_parts(more, own_folder):
    timed_walks(own_folder)
    given = {name: value for name, value in SMALL.items() if "backbone" not in more or name != "inner_size"}
    result = run("RaSeRec", "timed", config_dict={**given, "data_path": str(own_folder), **more})
    assert "living" in result["raserec"]["test_by_memory"]


def test_users_of_three_items_are_enough(own_folder):
    timed_walks(own_folder, length=3)
    assert run("RaSeRec", "timed", config_dict={**SMALL, "data_path": str(own_folder)})["test_users"] > 5
    with pytest.raises(DataError, match="no user has 4 items"):
        run("RaSeRec", "timed", config_dict={**SMALL, "data_path": str(own_folder), "split": "leave_one_out"})


def test_a_backbone_of_another_split_is_refused(own_folder):
    timed_walks(own_folder)
    given = {**SMALL, "data_path": str(own_folder)}
    run("RaSeRec", "timed", config_dict={**given, "split": "leave_one_out"})
    trained = str(next(path for path in (own_folder / "saved").glob("*-pretrain-*.pth") if ".last" not in path.name))
    with pytest.raises(ConfigError, match="trained with split=leave_one_out, so it may have seen"):
        run("RaSeRec", "timed", config_dict={**given, "pretrained": trained})
    run("RaSeRec", "timed", config_dict={**given, "split": "leave_one_out", "pretrained": trained})
    run("RaSeRec", "timed", config_dict={**given, "checkpoint_dir": "timed-saved"})
    trained = str(
        next(path for path in (own_folder / "timed-saved").glob("*-pretrain-*.pth") if ".last" not in path.name)
    )
    with pytest.raises(ConfigError, match="trained with time_shares="):
        run("RaSeRec", "timed", config_dict={**given, "pretrained": trained, "time_shares": [0.5, 0.3, 0.2]})


def test_places_are_no_times(make_config, own_folder):
    """So that ``expire`` and ``as_of`` do not take them for days of 1970."""
    dataset = SequenceDataset(make_config())
    dataset.build()
    assert np.isnan(dataset.sequences.train_part().times).all()
