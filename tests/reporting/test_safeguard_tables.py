"""The table of docs/safeguard.md says what the result files say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.safeguard_tables import nobody_table, own_table
from benchmarks.tables import METRICS, PROTOCOLS, ranks_sha256
from recbole_raserec.evaluation.significance import pack_ranks

CONFIG = {"metrics": ["Recall", "NDCG"], "topk": [5, 10, 20], "metric_decimal_place": 6, "valid_metric": "NDCG@10"}


def run(seed, choice, falls=()):
    """A run in which retrieval moves the targets of all users from rank 2 to rank 1; ``falls`` names lost groups."""
    ends = {name: [-3.0, -2.0, -1.0] if name in falls else [-1.0, 1.0, 3.0 + seed] for name in ("quintile 1", "head")}
    groups = {name: {"improvement": of_all(ends_of)} for name, ends_of in ends.items()}
    test = {protocol: dict.fromkeys(METRICS, 0.1) for protocol in PROTOCOLS}
    ranks = {
        side: {protocol: pack_ranks(np.full(40, rank), 20) for protocol in PROTOCOLS}
        for side, rank in (("backbone", 2), ("train", 1))
    }
    return {
        "seed": seed,
        "config": {**CONFIG, "preset": "full"},
        "dataset": {"name": "data", "sha256": "s"},
        "backbone": {"name": "SASRec", "test": test},
        "raserec": {
            "test_by_memory": {"train": {"test": test}},
            "mixture": {"weight": 0.1, "tau": 0.2, "tried": []},
            **({"choice": choice} if choice else {}),
        },
        "groups": {"item_popularity": groups, "history_length": {}},
        "test_ranks": ranks,
    }


def over_the_seeds(*runs):
    """The row of benchmarks/seed_groups.py of these runs, with the groups of the first."""
    return {"ranks_sha256": ranks_sha256(list(runs)), "groups": runs[0]["groups"]}


def of_all(ends, of=METRICS):
    """The same gain and ends of its interval in each metric under both protocols."""
    return {protocol: dict.fromkeys(of, ends) for protocol in PROTOCOLS}


CHOSEN = {"retrieval": True, "strength": 0.5, "popularity_adjustment": 0.2, "note": ""}
NONE = {"retrieval": False, "strength": 0.0, "popularity_adjustment": 0.0, "note": ""}


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (CHOSEN, "strength 0.5, adjustment 0.2, mixture 0.1"),
        (NONE, "no retrieval"),
        (None, "strength 1, adjustment 0, mixture 0.1"),
    ],
)
def test_the_chosen_combination_is_that_of_the_file(choice, words):
    one = run(1, choice)
    assert f"| {words}" in nobody_table([one], [], [over_the_seeds(one)])


def test_groups_that_fall_are_counted_and_the_worst_is_named():
    guarded = [run(1, CHOSEN), run(2, CHOSEN, falls=("quintile 1", "head"))]  # the head is quintile 5, so not counted
    row = nobody_table(guarded, [], [over_the_seeds(*guarded)]).splitlines()[-1]
    assert "| 2 of 4; quintile 1, masked, up to -1.0 % with seed 2 | 0 of 2; quintile 1" in row


def test_a_group_without_an_interval_is_not_counted():
    """Few users, of whom the backbone serves none in some resample."""
    small = run(2, CHOSEN)
    small["groups"]["history_length"] = {"50-": {"improvement": of_all([None] * 3)}}
    row = nobody_table([run(1, CHOSEN), small], [], [over_the_seeds(run(1, CHOSEN), small)]).splitlines()[-1]
    assert "| 0 of 4; quintile 1, masked, up to +4.0 % with seed 1 | 0 of 2; quintile 1" in row


def test_runs_without_the_safeguard_are_shown_for_the_same_seeds_alone():
    guarded = run(1, CHOSEN)
    guarded["config"]["preset"] = "safe"
    others = [guarded]
    for preset in (None, "full", "best"):
        for seed in (1, 2):
            others.append(run(seed, None))
            others[-1]["config"]["preset"] = preset
    del others[1]["raserec"]["mixture"]  # a run that had nothing to choose
    lines = nobody_table([guarded], others, [over_the_seeds(guarded)]).splitlines()
    assert [line.split(" | ")[1:3] for line in lines[2:]] == [
        ["default", "seed 1"],
        ["`--preset=full`", "seed 1"],
        ["`--preset=best`", "seed 1"],
        ["`--preset=safe`", "seed 1"],
    ]


def test_the_gains_over_the_seeds_are_those_of_the_same_runs():
    runs = [run(1, CHOSEN), run(2, CHOSEN)]
    row = nobody_table(runs, [], [over_the_seeds(runs[1]), over_the_seeds(*runs)]).splitlines()[-1]
    *_, in_one, with_a_seed, in_six = (cell.strip() for cell in row.strip("| ").split(" | "))
    assert in_one == "0 of 2; quintile 1, masked, up to +4.0 %"
    assert with_a_seed == "0 of 24; quintile 1, masked N@10, up to +4.0 % with seed 1"
    assert in_six == "0 of 12; quintile 1, masked N@10, up to +4.0 %"


def test_gains_over_the_seeds_of_other_ranks_end_the_program():
    runs = [run(1, CHOSEN), run(2, CHOSEN)]
    older = over_the_seeds(*runs)
    runs[1]["test_ranks"]["train"]["masked"] = pack_ranks(np.full(40, 3), 20)
    with pytest.raises(SystemExit, match=r"data, SASRec, `--preset=safe`: run python benchmarks/seed_groups\.py"):
        nobody_table(runs, [], [older])


def test_a_fall_in_another_metric_alone_is_in_the_last_column():
    one = run(1, CHOSEN)
    one["groups"]["item_popularity"]["quintile 1"]["improvement"]["masked"] |= {"recall@5": [-3.0, -2.0, -1.0]}
    row = nobody_table([one], [], [over_the_seeds(one)]).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("| ").split(" | ")]
    assert cells[-4].startswith("0 of 2; ")
    assert cells[-3].startswith("0 of 2; ")
    assert cells[-2] == "1 of 12; quintile 1, masked R@5, up to -1.0 % with seed 1"
    assert cells[-1] == "1 of 12; quintile 1, masked R@5, up to -1.0 %"


def test_the_default_settings_have_a_row_for_each_data_set():
    runs = [
        {**run(1, CHOSEN), "dataset": {"name": "b", "sha256": "s"}},
        run(1, NONE),
        {**run(2, NONE), "dataset": {"name": "b", "sha256": "s"}},
    ]
    rows = [line.strip("| ").split(" | ") for line in own_table(runs).splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        ["b", "2 seeds", "strength 0.5, adjustment 0.2, mixture 0.1; no retrieval"],
        ["data", "seed 1", "no retrieval"],
    ]
