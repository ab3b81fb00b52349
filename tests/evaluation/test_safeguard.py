"""The rule that refuses a ranking by which somebody would lose, against loops over the users."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.evaluation.groups import length_groups, popularity_groups
from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.evaluation.safeguard import EQUAL, GAIN, GROUP, OTHER, OVERALL, Safeguard

METRICS = Metrics(("Recall", "NDCG"), topk=(5, 10), decimals=6, watched="ndcg@10")
VALUES = {f"recall@{k}": lambda rank, k=k: float(rank <= k) for k in (5, 10)}
VALUES |= {f"ndcg@{k}": lambda rank, k=k: 1 / math.log2(rank + 1) if rank <= k else 0.0 for k in (5, 10)}


def slow_z(base, new, value) -> float:
    return z([value(int(after)) - value(int(before)) for before, after in zip(base, new)])


def z(gain) -> float:
    spread = math.sqrt(math.fsum(each * each for each in gain))
    return math.fsum(gain) / spread if spread else 0.0


@given(st.integers(0, 10_000), st.floats(-0.5, 0.9), st.integers(20, 300))
def test_the_rule_is_that_of_its_docstring(seed, better, users):
    rng = np.random.default_rng(seed)
    counts = np.r_[0, rng.integers(1, 30, 40)]
    targets, lengths = rng.integers(1, 41, users), rng.integers(1, 60, users)
    base = [rng.integers(1, 25, users) for _ in range(2)]
    moved = rng.random(users) < 0.3
    new = [np.maximum(1, ranks - moved * np.round(rng.normal(6 * better, 4, users)).astype(int)) for ranks in base]
    groups = popularity_groups(targets, counts)
    groups = {name: rows for name, rows in groups.items() if name.startswith("quintile")} | length_groups(lengths)
    both = sum(
        np.array([VALUES["ndcg@10"](int(a)) - VALUES["ndcg@10"](int(b)) for b, a in zip(base[p], new[p])])
        for p in (0, 1)
    )
    proof = both.sum() / math.sqrt((both**2).sum()) if both.any() else 0.0
    passes = proof > GAIN
    for p in (0, 1):
        for value in VALUES.values():
            passes &= slow_z(base[p], new[p], value) >= OVERALL
        for rows in groups.values():
            for name, value in VALUES.items():
                passes &= slow_z(base[p][rows], new[p][rows], value) >= (GROUP if name == "ndcg@10" else OTHER)
    guard = Safeguard.of(Ranks(*base), targets, lengths, counts, METRICS)
    assert (guard.refusal(Ranks(*new)) is None) == passes


def test_both_answers_of_the_rule_occur():
    assert (OVERALL, GROUP, OTHER, GAIN, EQUAL) == (0.0, -1.64, -2.58, 1.0, 1.0)  # docs/safeguard.md promises them
    base = Ranks(np.full(400, 9), np.full(400, 9))
    guard = Safeguard.of(base, np.tile([1, 2], 200), np.full(400, 7), np.array([0, 5, 50]), METRICS)
    better = np.where(np.arange(400) < 100, 3, 9)
    assert guard.refusal(Ranks(better, better)) is None
    assert guard.refusal(base) == "the gain in ndcg@10 is too small (0.0 standard errors)"
    unmasked_only = guard.refusal(Ranks(better, np.where(np.arange(400) < 100, 9, 11)))
    assert unmasked_only is not None
    assert unmasked_only.startswith("masked recall@10 of all users falls by 17.3 standard errors")
    row = np.arange(400)  # the common item is that of odd rows
    mixed = np.where(row % 2, 11, 9)
    guard = Safeguard.of(Ranks(mixed, mixed), np.tile([1, 2], 200), np.full(400, 7), np.array([0, 5, 50]), METRICS)
    common_gain = np.where(row % 2, np.where(row < 200, 3, 11), np.where(row < 40, 11, 9))
    refusal = guard.refusal(Ranks(common_gain, common_gain))
    assert refusal == "unmasked ndcg@10 of items of quintile 1 falls by 4.5 standard errors"


@pytest.mark.parametrize(
    ("losing", "refusal"),
    [(30, "unmasked recall@5 of items of quintile 1 falls by 3.6 standard errors"), (20, None)],  # z = -2.3
)
def test_a_group_that_falls_clearly_in_another_metric_alone_is_refused(losing, refusal):
    """Of the rare item's users some go from place 5 to 6, and eight from 9 to 3: they lose R@5 and gain N@10."""
    row = np.arange(400)
    base = np.where(row % 2, 11, np.where(row < 2 * losing, 5, 9))
    rare = np.where(row < 2 * losing, 6, np.where(row < 2 * losing + 16, 3, 9))
    new = np.where(row % 2, np.where(row < 100, 3, 11), rare)
    guard = Safeguard.of(Ranks(base, base), np.tile([1, 2], 200), np.full(400, 7), np.array([0, 5, 50]), METRICS)
    assert guard.refusal(Ranks(new, new)) == refusal


def test_one_user_who_gains_is_not_enough():
    base = Ranks(np.full(40, 9), np.full(40, 9))
    guard = Safeguard.of(base, np.tile([1, 2], 20), np.full(40, 7), np.array([0, 5, 50]), METRICS)
    one, two = (np.where(np.arange(40) < gaining, 3, 9) for gaining in (1, 2))
    assert guard.refusal(Ranks(one, one)) == "the gain in ndcg@10 is too small (1.0 standard errors)"
    assert guard.refusal(Ranks(two, two)) is None


def certain_by_hand(base, found):
    """:meth:`Safeguard.most_certain`, user by user."""
    value = VALUES["ndcg@10"]

    def both(ranks):
        sides = [(base.unmasked, ranks.unmasked), (base.masked, ranks.masked)]
        return [sum(value(int(a[r])) - value(int(b[r])) for b, a in sides) for r in range(len(base.unmasked))]

    gained = {key: both(ranks) for key, ranks in found.items()}
    best = max(gained.values(), key=math.fsum)
    equal = [key for key, each in gained.items() if z([x - y for x, y in zip(best, each)]) <= EQUAL]
    return max(equal, key=lambda key: z(gained[key]))


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_most_certain_of_the_best_is_that_of_a_loop(seed, count):
    rng = np.random.default_rng(seed)
    base = Ranks(*rng.integers(1, 25, (2, 60)))
    found = {}
    for number in range(count):
        moved = rng.random((2, 60)) < rng.random()
        found[number] = Ranks(*np.maximum(1, [base.unmasked, base.masked] - moved * rng.integers(-3, 8, (2, 60))))
    guard = Safeguard.of(base, np.ones(60, int), np.full(60, 7), np.array([0, 5]), METRICS)
    assert guard.most_certain(found) == certain_by_hand(base, found)


def test_a_small_sure_gain_is_kept_rather_than_a_large_one_of_few():
    base = Ranks(np.full(100, 9), np.full(100, 9))
    row = np.arange(100)
    large = np.where(row < 8, 1, np.where(row < 11, 11, 9))
    small = np.where(row < 60, 8, 9)
    guard = Safeguard.of(base, np.ones(100, int), np.full(100, 7), np.array([0, 5]), METRICS)
    assert guard.most_certain({"large": Ranks(large, large), "small": Ranks(small, small)}) == "large"
    fewer = np.where(row < 3, 1, np.where(row < 5, 11, 9))
    assert guard.most_certain({"large": Ranks(fewer, fewer), "small": Ranks(small, small)}) == "small"
