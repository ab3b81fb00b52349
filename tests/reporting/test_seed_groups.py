"""The gains of groups over the seeds: of one run they are its own, and of two its groups' figures are checked."""

from __future__ import annotations

import pytest

from benchmarks.seed_groups import pooled, same_but_for_the_seed
from benchmarks.tables import RESAMPLING
from recbole_raserec import run
from recbole_raserec.reporting.result import Result

FIXED = {"safeguard": False, "retrieval_strength": 1.0, "popularity_adjustment": 0.0, "mixture_weight": 0.0}


def trained(folder, seed) -> Result:
    short = {"epochs": 2, "finetune_epochs": 2, "learning_rate": 0.01, "show_progress": False}
    given = {**FIXED, **short, "data_path": str(folder), "seed": seed, "bootstrap_samples": RESAMPLING.samples}
    result = run("RaSeRec", "tiny", config_dict=given)
    assert result is not None
    return result


def gains_of(groups):
    return {
        (kind, name, protocol): gain["ndcg@10"]
        for kind, of_kind in groups.items()
        for name, group in of_kind.items()
        for protocol, gain in group["improvement"].items()
    }


def test_one_seed_has_the_gains_of_its_file_and_two_have_their_means(tiny_data):
    first, second = trained(tiny_data, RESAMPLING.seed), trained(tiny_data, 1)
    alone, both = pooled([first], str(tiny_data)), pooled([first, second], str(tiny_data))
    assert gains_of(alone["groups"]) == gains_of(first.groups)
    assert both["seeds"] == [RESAMPLING.seed, 1]
    place = "item_popularity", "head"
    base, new = (
        sum(result.groups[place[0]][place[1]][side]["masked"]["ndcg@10"] for result in (first, second))
        for side in ("backbone", "raserec")
    )
    assert gains_of(both["groups"])[(*place, "masked")][0] == pytest.approx(100 * (new - base) / base, abs=1e-2)


def test_figures_that_are_not_those_of_the_file_end_the_program(tiny_data):
    result = trained(tiny_data, 1)
    result.groups["item_popularity"]["head"]["backbone"]["masked"]["ndcg@10"] += 1
    with pytest.raises(AssertionError, match="head"):
        pooled([result], str(tiny_data))


def test_only_the_seeds_under_the_safeguard_are_pooled(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.seed_groups.read_result", lambda file: file.name)
    (tmp_path / "safeguard").mkdir()
    for name in ("safeguard/beauty-full-1", "amazon-beauty-full-1", "amazon-beauty-full-2"):
        (tmp_path / f"{name}.json").touch()
    assert list(same_but_for_the_seed(tmp_path)) == [["amazon-beauty-full-1.json"], ["beauty-full-1.json"]]
