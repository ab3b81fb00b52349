"""The tables of the pages say what the result files say."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from benchmarks import render, tables
from benchmarks.drift_tables import drift_table
from benchmarks.front import front_table
from benchmarks.headline import below_table, headline_tables, unearned
from recbole_raserec.evaluation.significance import pack_ranks

CONFIG = {"metrics": ["Recall", "NDCG"], "topk": [5, 10, 20], "metric_decimal_place": 6, "valid_metric": "NDCG@10"}
SIDES = ("backbone", "train", "train+valid")


def result(seed, recall, backbone="SASRec", preset=None):
    """A run whose every metric is ``recall`` of its side."""
    tests = {side: {p: dict.fromkeys(tables.METRICS, recall[side]) for p in tables.PROTOCOLS} for side in SIDES}
    extra = {"preset": preset, "mixture_weight": [0.1]} if preset else {}
    ranks = {side: {p: pack_ranks(np.arange(1, 41), 20) for p in tables.PROTOCOLS} for side in SIDES}
    return {
        "seed": seed,
        "config": {**CONFIG, **extra},
        "dataset": {"name": "data", "sha256": "s"},
        "backbone": {"name": backbone, "test": tests["backbone"]},
        "raserec": {"test_by_memory": {side: {"test": tests[side]} for side in SIDES[1:]}},
        "test_ranks": ranks,
    }


PUBLISHED = {
    "data": {
        "data": {
            "rows": {"SASRec": [0.01] * 6, "SASRec, full pipeline": [0.03, 0.03, 0.03, 0.02, 0.02, 0.0501]},
            "bars": {
                "masked": {
                    "mean of seeds": {"recall@10": {"value": 0.02, "source": "Mean"}},
                    "printed": {
                        "recall@10": {"value": 0.025, "source": "Other"},
                        "ndcg@10": {"value": 0.0251, "source": "Another"},
                    },
                }
            },
        }
    }
}


def test_bold_figures_are_those_that_reach_the_published():
    runs = [
        result(1, {"backbone": 0.09, "train": 0.02, "train+valid": 0.04}),
        result(2, {"backbone": 0.09, "train": 0.03, "train+valid": 0.06}),
        result(1, dict.fromkeys(SIDES, 0.03), preset="best"),
        result(1, dict.fromkeys(SIDES, 0.02), preset="full"),
    ]
    lines = headline_tables(runs, PUBLISHED).splitlines()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in lines if line.startswith("| ")}
    assert list(rows)[1:] == [
        "SASRec, *published*",
        "SASRec, full pipeline, *published*",
        "SASRec, 2 seeds",
        "RaSeRec, 2 seeds",
        "RaSeRec, validation pairs in the memory, 2 seeds",
        "SASRec on the patterns too, seed 1",
        "full pipeline, seed 1",
        "full pipeline, validation pairs in the memory, seed 1",
        "SASRec of `--preset=best`, seed 1",
        "`--preset=best`, seed 1",
        "`--preset=best`, validation pairs in the memory, seed 1",
        "best mean of seeds, masked, of other models: Mean",
        "best printed, masked, of other models: Other, Another",
    ]
    assert rows["SASRec, 2 seeds"][:6] == [".0900 ±.0000"] * 6  # a backbone is not a full pipeline
    assert rows["RaSeRec, 2 seeds"][:8] == [".0250 ±.0050"] * 3 + ["**.0250** ±.0050"] * 2 + [
        ".0250 ±.0050",
        "**.0250** ±.0050",
        ".0250 ±.0050",
    ]
    assert rows["RaSeRec, validation pairs in the memory, 2 seeds"][:6] == ["**.0500** ±.0100"] * 5 + [".0500 ±.0100"]
    assert rows["full pipeline, seed 1"][:6] == [".0200"] * 3 + ["**.0200**"] * 2 + [".0200"]
    assert rows["`--preset=best`, seed 1"][:6] == ["**.0300**"] * 5 + [".0300"]
    assert lines[-1] == "| best printed, masked, of other models: Other, Another | | | | | | | .0250 | .0251 | | |"


def test_the_readmes_table_has_both_bars():
    runs = [result(seed, dict.fromkeys(SIDES, 0.03), preset=preset) for seed in (1, 2) for preset in (None, "full")]
    assert front_table(runs, PUBLISHED).splitlines()[2:] == [
        "| Data | SASRec, published | .0100 | .0100 | | |",
        "| Data | SASRec, 2 seeds | .0300 ±.0000 | .0300 ±.0000 | .0300 ±.0000 | .0300 ±.0000 |",
        "| Data | full pipeline, published | .0200 | .0300 | | |",
        "| Data | full pipeline, 2 seeds | **.0300** ±.0000 | **.0300** ±.0000 | **.0300** ±.0000 | **.0300** ±.0000 |",
        "| Data | best mean of seeds | | | | .0200 |",
        "| Data | best printed of other models | | | .0251 | .0250 |",
    ]
    best = result(1, dict.fromkeys(SIDES, 0.025), preset="best")
    row = front_table([*runs, best], PUBLISHED).splitlines()[6]
    assert row == "| Data | preset best, seed 1 | **.0250** | .0250 | .0250 | **.0250** |"


def test_a_bold_figure_below_its_bar_is_found():
    text = headline_tables([result(1, dict.fromkeys(SIDES, 0.03), preset="best")], PUBLISHED)
    assert unearned(text, PUBLISHED) == []
    wrong = unearned(text.replace("**.0300**", "**.0299**", 1), PUBLISHED)
    assert len(wrong) == 1
    assert "unmasked recall@5" in wrong[0]
    higher = json.loads(json.dumps(PUBLISHED))
    higher["data"]["data"]["bars"]["masked"]["printed"]["ndcg@10"]["value"] = 0.04
    assert len(unearned(text, higher)) == 2  # with and without the validation pairs
    higher["data"]["data"]["bars"]["unmasked"] = {"printed": {"recall@5": {"value": 0.04, "source": "Third"}}}
    assert len(unearned(text, higher)) == 4
    assert len(unearned(text.replace("**.0300**", "**0.0299 ±.0001**", 1), PUBLISHED)) == 1


def test_what_is_below_its_bar_and_which_gain_is_not_significant():
    run = result(1, {"backbone": 0.02, "train": 0.025, "train+valid": 0.06}, preset="full")
    same, better = (pack_ranks(ranks, 20) for ranks in (np.repeat([1, 4, 8, 15, 21], 8), np.ones(40, dtype=int)))
    run["test_ranks"] = {side: dict.fromkeys(tables.PROTOCOLS, same) for side in SIDES}
    run["test_ranks"]["train"]["unmasked"] = better
    row = below_table([run, result(1, dict.fromkeys(SIDES, 0.02))], PUBLISHED).splitlines()[2:]
    assert len(row) == 1  # only presets
    name, train, valid, gains = row[0].strip("| ").split(" | ")
    assert name == "data, full pipeline on SASRec, seed 1"
    recalls = ", ".join(f"unmasked R@{k} .0250 (.0300)" for k in (5, 10, 20))
    assert train == f"5 of 8: {recalls}, unmasked N@20 .0250 (.0501), masked N@10 .0250 (.0251)"
    assert valid == "0 of 8"
    assert gains == ", ".join(f"masked {tables.short(metric)} +0.0 to +0.0 %" for metric in tables.METRICS)


def test_a_preset_stands_apart_in_the_page_of_all_figures():
    runs = [result(1, dict.fromkeys(SIDES, 0.02), preset=preset) for preset in ("best", "full")]
    labels = [line.split(" | ")[1] for line in tables.full_table(runs).splitlines()[2:]]
    assert labels[:2] == ["SASRec, seed 1", "RaSeRec on SASRec, mixture, seed 1"]
    assert labels[3:5] == ["SASRec, preset best, seed 1", "RaSeRec on SASRec, preset best, mixture, seed 1"]


def test_preset_safe_stands_apart_and_shares_the_backbone_of_full():
    runs = [result(1, dict.fromkeys(SIDES, 0.02 + number / 100), preset=p) for number, p in enumerate(("safe", "full"))]
    labels = [line.split(" | ")[1] for line in tables.full_table(runs).splitlines()[2:]]
    assert labels[1] == "RaSeRec on SASRec, mixture, seed 1"
    assert labels[4] == "RaSeRec on SASRec, preset safe, mixture, seed 1"
    rows = [line.split(" | ")[0] for line in headline_tables(runs, PUBLISHED).splitlines()]
    assert [row for row in rows if "SASRec on" in row] == ["| SASRec on the patterns too, seed 1"]
    assert "| `--preset=safe`, seed 1" in rows
    table = front_table([*runs, result(1, dict.fromkeys(SIDES, 0.02))], PUBLISHED)
    assert "| Data | preset safe, seed 1 | **.0200** | .0200 | .0200 | .0200 |" in table


def test_the_ablation_leaves_out_another_backbone():
    of = [("SASRec", "best"), ("SASRec", "full"), ("SASRec", None), ("DuoRec", None), ("SASRec", "safe")]
    runs = [result(1, dict.fromkeys(SIDES, 0.02), backbone, preset) for backbone, preset in of]
    for run in runs:
        run["dataset"]["name"] = "amazon-beauty"
    assert [pair for pair, run in zip(of, runs) if tables.in_ablation(run)] == of[1:3]


def test_gains_of_groups_are_those_of_the_means():
    def of_seed(seed, before, after):
        sides = {"backbone": before, "raserec": after}
        group = {side: {p: {"ndcg@10": figure} for p in tables.PROTOCOLS} for side, figure in sides.items()}
        return {**result(seed, dict.fromkeys(SIDES, 0.02)), "groups": {"kind": {"tail": group}}}

    runs = [of_seed(1, 0.02, 0.03), of_seed(2, 0.04, 0.03)]
    row = tables.group_table(runs, "kind", ["tail"]).splitlines()[2]
    assert row == "| data, RaSeRec on SASRec, 2 seeds | unmasked | .0300, .0300: +0.0 ±37.5 % |"
    row = tables.group_table(runs[:1], "kind", ["tail"]).splitlines()[3]
    assert row == "| data, RaSeRec on SASRec, seed 1 | masked | .0200, .0300: +50.0 % |"


def test_what_an_older_memory_is_worth_is_told_share_by_share():
    runs = [
        result(seed, {"backbone": 0.02, "train": 0.02, "train+valid": last}) for seed, last in ((1, 0.03), (2, 0.05))
    ]
    for run in runs:
        run["drift"] = [{"share": 0.25, "test": run["backbone"]["test"]}]
    rows = drift_table(runs).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| the older 25 % of every user's training pairs",
        "| all training pairs",
        "| and the validation pairs",
    ]
    assert rows[0].endswith(" | .0200 ±.0000 | +0.0 ±0.0 % | .0200 ±.0000 | +0.0 ±0.0 % |")
    assert rows[2].endswith(" | .0400 ±.0100 | +100.0 ±50.0 % | .0400 ±.0100 | +100.0 ±50.0 % |")
    for part in (*runs[0]["drift"], *runs[0]["raserec"]["test_by_memory"].values()):
        part["improvement"] = {protocol: {"ndcg@10": [1.0, -1.0, 2.04]} for protocol in tables.PROTOCOLS}
    row = drift_table(runs[:1]).splitlines()[2]
    assert row.endswith(" | .0200 | +1.0 [-1.0, +2.0] % | .0200 | +1.0 [-1.0, +2.0] % |")


def test_a_table_without_its_result_files_ends_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match=r"amazon-\*\.json is missing"):
        render.main(["--check"])


def test_a_seed_counts_once():
    with pytest.raises(AssertionError, match="the same seed"):
        tables.seeds([result(1, dict.fromkeys(SIDES, 0.02))] * 2)


@pytest.mark.slow
def test_the_pages_hold_what_the_result_files_say(tmp_path, monkeypatch):
    blocks = re.compile(r"<!-- (\w+) -->.*?<!-- /\1 -->", re.S)
    before = {name: file.read_text(encoding="utf-8") for name, file in render.PAGES.items()}
    copies = {name: tmp_path / f"{name}.md" for name in before}
    spoilt = {"README", "all figures", "benchmarks", "memory", "parameters", "safeguard", "serving", "size"}
    for name, copy in copies.items():
        wrong = before[name]
        if name in spoilt:
            wrong = blocks.sub(lambda block: block[0].replace(".0", ".00").replace("gain", "loss"), wrong)
        copy.write_text("" if name in spoilt and wrong == before[name] else wrong, encoding="utf-8")
    monkeypatch.setattr(render, "PAGES", copies)
    monkeypatch.setattr(render, "draw", lambda *_: None)
    with pytest.raises(SystemExit, match="is bold") as found:
        render.main(["--check"])
    for name in before:
        assert (f"{name}.md is not what" in str(found.value)) == (name in spoilt)
    render.main([])
    with pytest.raises(SystemExit, match="0"):
        render.main(["--check"])
    assert {name: copy.read_text(encoding="utf-8") for name, copy in copies.items()} == before


def test_no_result_file_names_a_folder_of_the_machine_that_made_it():
    found = [
        file.name for file in render.RESULTS.rglob("*.json") if re.search(r'"/\w', file.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_runs_of_other_data_or_parameters_are_no_row():
    one, two = (result(seed, dict.fromkeys(SIDES, 0.03)) for seed in (1, 2))
    assert tables.seeds([one, two]) == "2 seeds"
    newer = {**two, "config": {**two["config"], "score_tau": 0.0, "result_file": "x"}}
    assert tables.seeds([one, newer]) == "2 seeds", "the first is older than this parameter"
    changed = {**one, "config": {**one["config"], "score_tau": 0.1}}
    with pytest.raises(AssertionError, match="because they differ in score_tau"):
        tables.seeds([changed, newer])
    with pytest.raises(AssertionError, match="because they differ in the data"):
        tables.seeds([one, {**two, "dataset": {"name": "data", "sha256": "other"}}])
