"""The choice of an index, its recall, and its file."""

from __future__ import annotations

import logging

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval import index as index_module
from recbole_raserec.retrieval import recall as recall_module
from recbole_raserec.retrieval.index import (
    build_index,
    candidates,
    choose_factory,
    effort,
    load_index,
    normalise,
    save_index,
    search_index,
)
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.recall import check_recall, exact_search, least_effort, measure_recall


def clustered(seed: int, size: int, width: int = 8) -> np.ndarray:
    """[size, width] keys around 20 centres; none has length 1."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, width))
    keys = centres[rng.integers(0, 20, size)] + 0.3 * rng.normal(size=(size, width))
    return (3 * keys).astype(np.float32)


def bank_of(keys: np.ndarray, seed: int = 0, **settings) -> MemoryBank:
    rng = np.random.default_rng(seed)
    owners, lengths = rng.integers(1, 4, len(keys)), rng.integers(1, 9, len(keys))
    return MemoryBank(keys, np.arange(len(keys)), owners, lengths, **settings)


def by_hand(bank: MemoryBank, index: faiss.Index, k: int, queries: np.ndarray) -> float:
    """Recall after the exact cosines of all candidates, one query at a time."""
    exact = normalise(queries).astype(np.float64) @ normalise(bank.keys).T.astype(np.float64)
    shares = []
    for cosine, found in zip(exact, index.search(normalise(queries), candidates(k, len(bank), rough=True))[1]):
        near = sorted(cosine[found[found >= 0]], reverse=True)[:k]
        shares.append(sum(c >= np.sort(cosine)[-k] - 1e-6 for c in near) / k)
    return float(np.mean(shares))


def test_auto_is_exact_for_few_and_lists_of_codes_for_many():
    assert choose_factory("auto", 131_413, 64) == "Flat"
    assert choose_factory("auto", 2**18, 64) == "Flat"
    assert choose_factory("auto", 2**18 + 1, 64) == "IVF256,SQ8"
    assert choose_factory("auto", 10_000_000, 64) == "IVF1581,SQ8"
    assert choose_factory("HNSW32", 10_000_000, 64) == "HNSW32"


@pytest.mark.parametrize(("size", "kind"), [(300, faiss.IndexFlat), (301, faiss.IndexIVFScalarQuantizer)])
def test_auto_builds_what_it_chose(monkeypatch, size, kind):
    monkeypatch.setattr(index_module, "FLAT_FLOATS", 300 * 8)
    index = build_index(clustered(0, size), "auto", 4)
    assert isinstance(index, kind)
    assert index.ntotal == size


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


@given(st.integers(1, 200), st.integers(1, 30), st.integers(0, 10**6))
def test_a_bank_with_auto_finds_what_an_exact_one_finds(size, k, seed):
    """Also if so many keys are equal that the first search is not deep enough to tell which come first."""
    rng = np.random.default_rng(seed)
    keys, queries = (rng.integers(-1, 2, (n, 3)).astype(np.float32) for n in (size, 5))
    query = queries, rng.integers(1, 4, 5), rng.integers(1, 9, 5)
    auto, exact = (bank_of(keys, seed, index_factory=factory) for factory in ("auto", "Flat"))
    assert np.array_equal(auto.search(*query, k), exact.search(*query, k))
    cosines = exact.cosines(queries, np.tile(np.arange(size), (5, 1)))
    for row, who, length, cosine in zip(auto.search(*query, k), *query[1:], cosines):
        allowed = [n for n in range(size) if auto.owners[n] != who or auto.lengths[n] < length]
        expected = sorted(allowed, key=lambda n: -cosine[n])[:k]
        assert row.tolist() == expected + [-1] * (k - len(expected))


@given(st.sampled_from(["IVF4,SQ8", "IVF4,Flat", "HNSW8", "SQ4"]), st.integers(1, 40), st.integers(0, 10**6))
def test_approximate_indices_return_no_leaks(factory, k, seed):
    rng = np.random.default_rng(seed)
    bank = bank_of(clustered(seed, 200), seed, index_factory=factory, index_nprobe=2)
    users, lengths = rng.integers(1, 4, 6), rng.integers(1, 9, 6)
    found = bank.search(bank.keys[:6], users, lengths, k)
    leaks = (bank.owners[found] == users[:, None]) & (bank.lengths[found] >= lengths[:, None])
    assert not (leaks & (found >= 0)).any()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in found)


def test_a_bank_tunes_its_index(caplog):
    caplog.set_level("INFO")
    keys = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    bank = bank_of(keys, index_factory="IVF40,Flat", index_nprobe=1, index_recall=0.97)
    bank.search(keys[:3], np.full(3, 99), np.full(3, 1), 5)
    assert faiss.extract_index_ivf(bank.index).nprobe > 1
    assert "of the exact 20 nearest neighbours with nprobe=" in caplog.text


@pytest.mark.parametrize("factory", ["IVF8,SQ8", "HNSW8"])
def test_equal_keys_make_equal_indices(factory, three_threads):
    keys = clustered(0, 2000)
    one, two = (faiss.serialize_index(build_index(keys, factory, 2)) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_large_bank_trains_on_a_sample(monkeypatch):
    monkeypatch.setattr(index_module, "_TRAINED_ON", 100)
    keys = clustered(0, 3000)
    few = index_module._sample(keys, faiss.index_factory(8, "SQ8"))
    many = index_module._sample(keys, faiss.index_factory(8, "IVF10,Flat"))
    assert (len(few), len(many)) == (100, 640)
    assert np.allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)


def test_one_query_is_searched_on_one_thread(three_threads):
    index, queries, threads = build_index(clustered(0, 50), "Flat", 1), normalise(clustered(1, 2)), []

    class Watched:
        def search(self, *args):
            threads.append(faiss.omp_get_max_threads())
            return index.search(*args)

    for rows in (queries[:1], queries):
        search_index(Watched(), rows, 4)
    assert threads == [1, 3]
    assert faiss.omp_get_max_threads() == 3


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF8,SQ8", "PCA4,IVF8,Flat", "HNSW8"])
def test_a_saved_index_finds_the_same(tmp_path, factory, mmap):
    keys, queries = clustered(0, 500), normalise(clustered(1, 9))
    index = build_index(keys, factory, 3)
    save_index(index, tmp_path / "index")
    again = load_index(tmp_path / "index", mmap)
    assert np.array_equal(again.search(queries, 10)[1], index.search(queries, 10)[1])
    if "IVF" in factory:
        ivf = faiss.extract_index_ivf(again)
        assert ivf.nprobe == 3
        on_disk = isinstance(faiss.downcast_InvertedLists(ivf.invlists), faiss.OnDiskInvertedLists)
        assert on_disk == mmap


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"IwSq" + b"\xff" * 300])
def test_a_damaged_index_is_a_clear_error(tmp_path, content, mmap):
    if content is not None:
        (tmp_path / "index").write_bytes(content)
    with pytest.raises(DataError, match="not an index that FAISS can read"):
        load_index(tmp_path / "index", mmap)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_cut_index_is_a_clear_error(tmp_path, kept):
    save_index(build_index(clustered(0, 500), "IVF8,SQ8", 3), tmp_path / "index")
    whole = (tmp_path / "index").read_bytes()
    (tmp_path / "index").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="build the index again"):
        load_index(tmp_path / "index", mmap=False)


def test_an_index_that_cannot_be_written_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="the index cannot be written"):
        save_index(build_index(clustered(0, 20), "Flat", 1), tmp_path / "missing" / "index")


@pytest.mark.parametrize("factory", ["Auto", "IVF99999,SQ8", "PQ7", ""])
def test_impossible_factories_are_clear_errors(factory):
    with pytest.raises(ConfigError, match="index_factory="):
        build_index(clustered(0, 50), factory, 1)


@pytest.mark.parametrize(("size", "depth"), [(512, 1), (513, 1), (5000, 3), (20_000, 15), (62_000, 60)])
@pytest.mark.parametrize(("tile", "rows"), [(2048, 512), (700, 4), (1, 15)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_search_by_tiles_is_the_search_of_faiss(monkeypatch, size, depth, tile, rows, ties):
    monkeypatch.setattr(index_module, "_TILE", min(tile, size) if tile > 1 else size // 40)
    monkeypatch.setattr(index_module, "_ROWS", rows)
    rng = np.random.default_rng(size)
    keys = rng.integers(-1, 2, (size, 8)).astype(np.float32) if ties else clustered(size, size)
    index = build_index(keys, "Flat", 1)
    queries = normalise(np.concatenate([keys[-8:], clustered(1, 7)]))
    assert size >= index_module._TILED * depth and len(queries) > index_module._FEW  # or FAISS searches
    rough, near = search_index(index, queries, depth)
    expected, numbers = index.search(queries, depth)
    np.testing.assert_allclose(rough, expected, atol=2e-6)
    assert all(len(set(row)) == depth for row in near.tolist())
    np.testing.assert_allclose(np.einsum("rd,rkd->rk", queries, normalise(keys)[near]), rough, atol=2e-6)
    if not ties:
        assert [set(row) for row in near.tolist()] == [set(row) for row in numbers.tolist()]
