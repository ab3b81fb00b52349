"""The choice of an index, what it finds, and its file."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval import index as index_module
from recbole_raserec.retrieval.index import (
    build_index,
    choose_factory,
    load_index,
    normalise,
    save_index,
    search_index,
)
from tests.retrieval.banks import bank_of, clustered


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


@given(st.sampled_from(["IVF4,SQ8", "IVF4,Flat", "HNSW8", "SQ4"]), st.integers(1, 40), st.integers(0, 10**6))
def test_approximate_indices_return_no_leaks(factory, k, seed):
    rng = np.random.default_rng(seed)
    bank = bank_of(clustered(seed, 200), seed, index_factory=factory, index_nprobe=2)
    users, lengths = rng.integers(1, 4, 6), rng.integers(1, 9, 6)
    found = bank.search(bank.keys[:6], users, lengths, k)
    leaks = (bank.owners[found] == users[:, None]) & (bank.lengths[found] >= lengths[:, None])
    assert not (leaks & (found >= 0)).any()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in found)


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
    else:
        again.add(queries)  # FAISS would end the process if it were mapped


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
