from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.evaluation.groups import group_metrics, length_groups, popularity_groups
from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.evaluation.significance import Resampling

METRICS = Metrics(("Recall", "NDCG"), topk=(5,), decimals=6, watched="ndcg@5")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.lists(st.integers(1, 9), min_size=1, max_size=10))
def test_each_row_is_in_one_quintile_and_in_head_or_tail(train, targets):
    groups = popularity_groups(np.array(targets), np.bincount(train, minlength=10))
    quintiles = np.array([rows for name, rows in groups.items() if name.startswith("quintile")])
    assert (quintiles.sum(axis=0) == 1).all()
    assert (groups["head"] != groups["tail"]).all()
    ranked = sorted(range(1, 10), key=lambda item: (train.count(item), item))  # rarest first
    for row, target in enumerate(targets):
        number = ranked.index(target) * 5 // 9
        assert groups[f"quintile {number + 1}"][row]
        assert groups["head"][row] == (ranked.index(target) / 9 >= 0.8)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_each_history_has_one_length_group(lengths):
    groups = length_groups(np.array(lengths))
    assert (np.array(list(groups.values())).sum(axis=0) == 1).all()
    assert (groups["5-9"] == [5 <= n < 10 for n in lengths]).all()


def test_groups_have_their_own_users_metrics():
    sequences = Sequences.from_sorted(np.repeat([1, 2, 3], [4, 4, 12]), np.r_[[1, 1, 1, 1], [1, 1, 1, 2], range(1, 13)])
    part = sequences.test_part()
    base, new = Ranks(np.array([9, 9, 1]), np.array([9, 9, 1])), Ranks(np.array([1, 9, 1]), np.array([1, 9, 1]))
    groups = group_metrics(base, new, part, sequences.training_counts(13), METRICS, Resampling(100, seed=0))
    assert set(groups["history_length"]) == {"1-4", "10-19"}
    short = groups["history_length"]["1-4"]
    assert short["users"] == 2
    assert short["backbone"]["unmasked"]["recall@5"] == 0
    assert short["raserec"]["masked"]["recall@5"] == 0.5
    assert short["improvement"]["unmasked"]["recall@5"][0] is None
    assert groups["history_length"]["10-19"]["improvement"]["masked"]["ndcg@5"][0] == 0
