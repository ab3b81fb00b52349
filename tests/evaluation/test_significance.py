from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.evaluation.significance import (
    Resampling,
    improvements,
    pack_ranks,
    paired_improvement,
    rank_values,
    unpack_ranks,
    z_of,
)

METRICS = Metrics(("Recall", "NDCG"), topk=(5, 10), decimals=4, watched="ndcg@10")


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9), st.randoms())
def test_gains_that_others_lose_are_no_gain_in_any_order(values, random):
    both = [*values, *(-value for value in values)]
    random.shuffle(both)
    assert z_of(np.array(both)) == 0


def test_values_by_rank():
    values = rank_values(METRICS)
    assert values["recall@5"].tolist() == [1] * 5 + [0] * 6
    assert values["ndcg@10"][1] == pytest.approx(1 / np.log2(3), abs=1e-14)  # not rounded
    assert values["ndcg@10"][10] == 0


@pytest.mark.parametrize("shape", [500, (3, 500)])
def test_counting_users_is_resampling_users(shape):
    """With several seeds, a user's value is the mean over the seeds."""
    rng = np.random.default_rng(0)
    base = rng.integers(1, 40, shape)
    new = np.maximum(base - rng.integers(-3, 6, shape), 1)
    found = paired_improvement(base, new, METRICS, Resampling(4000, seed=1))
    value = rank_values(METRICS)
    for name in ("recall@10", "ndcg@5"):
        before, after = (np.atleast_2d(value[name][np.minimum(ranks, 11) - 1]).mean(0) for ranks in (base, new))
        draws = rng.integers(0, 500, (4000, 500))
        plain = 100 * (after[draws].mean(1) / before[draws].mean(1) - 1)
        percent, low, high = found[name]
        assert percent == pytest.approx(100 * (after.mean() / before.mean() - 1), abs=1e-3)
        width = high - low
        assert low == pytest.approx(np.percentile(plain, 2.5), abs=0.06 * width)
        assert high == pytest.approx(np.percentile(plain, 97.5), abs=0.06 * width)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    base = rng.integers(1, 40, 500)
    paired = paired_improvement(base, base.copy(), METRICS, Resampling(500, seed=1))["recall@10"]
    shuffled = paired_improvement(base, rng.permutation(base), METRICS, Resampling(500, seed=1))["recall@10"]
    assert paired == [0, 0, 0]
    assert shuffled[2] - shuffled[1] > 10


def test_a_baseline_of_zero_has_no_percentage():
    found = paired_improvement(np.full(9, 99), np.ones(9, int), METRICS, Resampling(100, seed=1))
    assert found["recall@5"] == [None, None, None]


def test_both_protocols_draw_the_same_users():
    rng = np.random.default_rng(0)
    (base, new), resampling = rng.integers(1, 15, (2, 200)), Resampling.of({"bootstrap_samples": 200, "seed": 3})
    found = improvements(Ranks(base, new), Ranks(new, new), METRICS, resampling)
    assert found["unmasked"] == paired_improvement(base, new, METRICS, Resampling(200, seed=3))
    assert all(gain == [0, 0, 0] for gain in found["masked"].values())
    again = improvements(Ranks(new, base), Ranks(new, new), METRICS, resampling)
    assert again["masked"] == found["unmasked"]


def test_packed_ranks_are_the_ranks_up_to_the_depth():
    ranks = np.array([1, 20, 21, 22, 10**6, 3])
    assert unpack_ranks(pack_ranks(ranks, 20)).tolist() == [1, 20, 21, 21, 21, 3]
