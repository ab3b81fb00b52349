"""The measured recall of an index, and the search for the least effort that reaches a wanted one."""

from __future__ import annotations

import logging

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.retrieval import recall as recall_module
from recbole_raserec.retrieval.index import build_index, candidates, effort, normalise
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.recall import check_recall, exact_search, least_effort, measure_recall
from tests.retrieval.banks import bank_of, clustered


def by_hand(bank: MemoryBank, index: faiss.Index, k: int, queries: np.ndarray) -> float:
    """Recall after the exact cosines of all candidates, one query at a time."""
    exact = normalise(queries).astype(np.float64) @ normalise(bank.keys).T.astype(np.float64)
    shares = []
    for cosine, found in zip(exact, index.search(normalise(queries), candidates(k, len(bank), rough=True))[1]):
        near = sorted(cosine[found[found >= 0]], reverse=True)[:k]
        shares.append(sum(c >= np.sort(cosine)[-k] - 1e-6 for c in near) / k)
    return float(np.mean(shares))


@given(st.integers(5, 300), st.integers(1, 25), st.sampled_from([("IVF4,SQ8", 2), ("IVF4,Flat", 1), ("HNSW4", 0)]))
def test_measured_recall_is_that_of_brute_force(size, k, kind):
    factory, nprobe = kind
    bank, k = bank_of(clustered(size, size)), min(k, size)
    index = build_index(bank.keys, factory, nprobe)
    queries = clustered(size + 1, 30)
    truth = exact_search(bank.keys, queries, k)
    assert measure_recall(index, bank.keys, truth) == pytest.approx(by_hand(bank, index, k, queries), abs=1e-9)


def test_measured_recall_is_that_of_the_banks_results():
    """Codes of 4 bits alone confuse many neighbours; the candidates of the bank make up for most of it."""
    bank = bank_of(clustered(0, 3000), index_factory="IVF8,SQ4", index_nprobe=8)
    index, queries = build_index(bank.keys, "IVF8,SQ4", 8), clustered(1, 200)
    truth = exact_search(bank.keys, queries, 10)
    found = bank.search(queries, np.full(200, 99), np.full(200, 1), 10)
    cosines = bank.cosines(queries, found)
    assert measure_recall(index, bank.keys, truth) == pytest.approx(np.mean(cosines >= truth.least[:, None] - 1e-6))
    alone = np.take_along_axis(
        normalise(queries) @ normalise(bank.keys).T, index.search(normalise(queries), 10)[1], axis=1
    )
    assert np.mean(alone >= truth.least[:, None] - 1e-6) < measure_recall(index, bank.keys, truth) - 0.05


@pytest.mark.parametrize("block", [1, 7, 400])
def test_an_exact_search_in_blocks_is_one_over_all_keys(monkeypatch, block):
    monkeypatch.setattr(recall_module, "_BLOCK", block)
    keys, queries = clustered(0, 90), clustered(1, 20)
    least = exact_search(keys, queries, 10).least
    expected = np.sort(normalise(queries) @ normalise(keys).T, axis=1)[:, -10]
    assert np.allclose(least, expected, atol=1e-6)


def test_a_bank_tells_what_its_index_is_and_finds():
    keys = clustered(0, 3000)
    bank = bank_of(keys, index_factory="IVF8,SQ8", index_recall=0.9)
    assert bank.index_facts() is None  # it is not built yet
    nobody = np.full(5, 10**6)
    bank.search(keys[:5], nobody, np.ones_like(nobody), 3)
    facts = bank.index_facts()
    assert facts["factory"] == "IVF8,SQ8"
    assert facts["nprobe"] == faiss.extract_index_ivf(bank.index).nprobe
    assert 0.9 <= facts["recall"] <= 1
    exact = bank_of(keys)
    exact.search(keys[:5], nobody, np.ones_like(nobody), 3)
    assert exact.index_facts() is None


def test_equally_near_keys_do_not_lower_the_recall():
    keys = np.repeat(clustered(0, 10), 50, axis=0)
    index = build_index(keys, "IVF2,Flat", 2)
    assert measure_recall(index, keys, exact_search(keys, keys[::7], 20)) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=70), st.floats(0, 1))
def test_the_least_effort_is_the_first_that_suffices(recalls, wanted):
    recalls = sorted(recalls)
    enough = [number for number, recall in enumerate(recalls, 1) if recall >= wanted]
    found = least_effort(lambda number: recalls[number - 1], len(recalls), wanted)
    if enough:
        assert found == enough[0]
    else:
        assert recalls[found - 1] == recalls[-1]


@pytest.mark.parametrize("factory", ["IVF40,Flat", "PCA8,IVF40,SQ8", "HNSW4", "PCA8,HNSW4", "HNSW4_SQ8,RFlat"])
def test_tuning_reaches_the_wanted_recall_with_no_more_than_it_takes(factory, caplog):
    keys = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    index = build_index(keys, factory, 1)
    owner, name, most = effort(index)
    setattr(owner, name, 1)
    truth = exact_search(keys, keys[np.random.default_rng(0).permutation(2000)[:500]], 20)
    assert measure_recall(index, keys, truth) < 0.97
    recall = check_recall(index, keys, 0.97)
    assert recall >= 0.97
    assert recall == measure_recall(index, keys, truth)
    value = getattr(owner, name)
    assert 1 < value <= most
    setattr(owner, name, value - 1)
    assert measure_recall(index, keys, truth) < 0.97
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_recall_that_no_effort_reaches_is_a_warning(caplog):
    keys = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    index = build_index(keys, "IVF10,PQ2x4", 1)
    recall = check_recall(index, keys, 0.99)
    assert recall < 0.99
    assert faiss.extract_index_ivf(index).nprobe > 1
    assert f"recall {recall:.3f} is under 0.99 with nprobe=" in caplog.text


def test_a_low_recall_is_a_warning_that_names_the_parameter(caplog):
    keys = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    recall = check_recall(build_index(keys, "IVF40,Flat", 1), keys)
    assert f"recall {recall:.3f} is under 0.95 with nprobe=1 (index_nprobe)" in caplog.text
    caplog.clear()
    assert check_recall(build_index(keys, "IVF40,Flat", 40), keys) == 1.0
    assert not caplog.records or all(record.levelno < logging.WARNING for record in caplog.records)


def test_the_recall_is_measured_for_the_queries_that_are_given():
    keys = clustered(0, 2000)
    index = build_index(keys, "IVF40,Flat", 1)
    assert check_recall(index, keys, queries=keys[:3]) != check_recall(index, keys, queries=-keys[:3])


def test_an_index_without_a_knob_is_only_measured(caplog):
    keys = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    assert effort(build_index(keys, "PQ2x4", 1)) is None
    assert check_recall(build_index(keys, "PQ2x4", 1), keys, 0.9) < 0.9
    assert "is under 0.9" in caplog.text


def test_a_bank_tunes_its_index(caplog):
    caplog.set_level("INFO")
    keys = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    bank = bank_of(keys, index_factory="IVF40,Flat", index_nprobe=1, index_recall=0.97)
    bank.search(keys[:3], np.full(3, 99), np.full(3, 1), 5)
    assert faiss.extract_index_ivf(bank.index).nprobe > 1
    assert "of the exact 20 nearest neighbours with nprobe=" in caplog.text
