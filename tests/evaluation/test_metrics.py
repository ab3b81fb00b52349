from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.evaluation.metrics import Metrics, both_protocols, recbole_metrics
from recbole_raserec.evaluation.ranking import Ranks

METRICS = Metrics(("Recall", "NDCG", "MRR", "Hit"), topk=(1, 3, 5), decimals=12, watched="ndcg@5")


def test_metrics_are_those_of_the_configuration(make_config):
    config = make_config(metrics=["NDCG", "MRR"], topk=7, valid_metric="MRR@7", metric_decimal_place=3)
    assert Metrics.of(config) == Metrics(("NDCG", "MRR"), topk=(7,), decimals=3, watched="mrr@7")
    found = recbole_metrics(np.array([3]), Metrics.of(config))
    assert found == {"ndcg@7": 0.5, "mrr@7": 0.333}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_metrics_are_their_definitions(ranks):
    found = recbole_metrics(np.array(ranks), METRICS)
    for k in (1, 3, 5):
        hits = [r for r in ranks if r <= k]
        assert found[f"recall@{k}"] == pytest.approx(len(hits) / len(ranks))
        assert found[f"hit@{k}"] == pytest.approx(len(hits) / len(ranks))
        assert found[f"ndcg@{k}"] == pytest.approx(sum(1 / math.log2(r + 1) for r in hits) / len(ranks))
        assert found[f"mrr@{k}"] == pytest.approx(sum(1 / r for r in hits) / len(ranks))


def test_both_protocols_are_named():
    ranks = Ranks(unmasked=np.array([1, 3]), masked=np.array([1, Ranks.NEVER], np.int32))
    found = both_protocols(ranks, METRICS)
    assert {protocol: metrics["recall@5"] for protocol, metrics in found.items()} == {"unmasked": 1, "masked": 0.5}
