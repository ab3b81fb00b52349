"""The picture of what retrieval gives to all users and to those of rare items has the gains of the result files."""

from __future__ import annotations

import pytest

from benchmarks.trade_off import _point, trade_off


def run(preset, seed, before, after, rare_before, rare_after):
    def of(figure):
        return {protocol: {"ndcg@10": figure} for protocol in ("unmasked", "masked")}

    return {
        "seed": seed,
        "config": {"preset": preset, "memory": ["pairs", "patterns"] if preset else ["pairs"]},
        "dataset": {"name": "amazon-beauty"},
        "backbone": {"name": "SASRec", "test": of(before)},
        "raserec": {"test_by_memory": {"train": {"test": of(after)}}},
        "groups": {"item_popularity": {"quintile 1": {"backbone": of(rare_before), "raserec": of(rare_after)}}},
    }


def test_a_point_is_the_gain_of_the_means_of_all_users_and_of_the_rarest():
    runs = [run("full", 1, 0.04, 0.05, 0.02, 0.01), run("full", 2, 0.06, 0.06, 0.02, 0.02)]
    assert _point(runs, "masked") == pytest.approx((10.0, -25.0))


def test_a_preset_is_drawn_and_the_plain_run_is_not():
    runs = [run(preset, 1, 0.04, 0.05, 0.02, 0.01) for preset in ("full", "best")]
    picture = trade_off(runs, "unmasked")
    assert "Beauty, SASRec" in picture
    assert "unmasked N@10" in picture
    assert trade_off([*runs, run(None, 1, 0.04, 0.09, 0.02, 0.03)], "unmasked") == picture
    assert trade_off([*runs, run("safe", 1, 0.04, 0.045, 0.02, 0.03)], "unmasked") != picture
