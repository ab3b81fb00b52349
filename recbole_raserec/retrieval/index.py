"""FAISS indices from factory strings, over unit vectors with inner product (cosine)."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import torch

from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval.best import Best, products
from recbole_raserec.retrieval.threads import one_thread

AUTO, LISTS = "auto", "lists"
FLAT_FLOATS = 2**24  # numbers in all keys up to which an exact search of one query takes a few milliseconds
BLOCK = 2**17  # keys that are scaled at once
_TILE, _ROWS = 2**11, 2**9  # keys and queries that are multiplied at once: their products stay in a cache
_TILED = 400  # times more keys than are searched for; FAISS is faster at deeper searches
_FEW = 8  # queries, for which FAISS is faster
_TRAINED_ON = 2**18  # k-means over more keys takes minutes and changes the recall by less than .003
_A_LIST = 64  # keys that each list is trained on, if there are many lists
_MOST_NODES = 4096  # of a graph; an index that needs more is no faster than an exact one


def choose_factory(factory: str, count: int, width: int) -> str:
    """``factory``, or for "auto" and "lists" the factory string for ``count`` memories of ``width`` numbers.

    Up to ``FLAT_FLOATS`` numbers, "auto" is exact. More are divided into sqrt(count) / 2 lists of 8-bit codes. The bank
    computes the cosines of more candidates than it returns. So the codes lose next to nothing: only memories in lists
    that are not visited are missed. On Beauty's keys, 16 of so many lists hold .96 of the 20 nearest memories.
    """
    if factory not in (AUTO, LISTS):
        return factory
    flat = factory == AUTO and count * width <= FLAT_FLOATS
    return "Flat" if flat else f"IVF{max(1, round(math.sqrt(count) / 2))},SQ8"


def candidates(k: int, count: int, rough: bool) -> int:
    """Number of memories to take from an index of ``count`` memories, so that the ``k`` nearest are among them.

    An index of the keys needs more than ``k`` only for leaks. A ``rough`` one may hold 8-bit codes, which confuse
    neighbours that are nearly as near.
    """
    return min(k + max(2 * k if rough else k // 2, 8), count)


def build_index(keys: np.ndarray, factory: str, nprobe: int) -> faiss.Index:
    """A trained and filled index over the directions of ``keys`` [N, D] float32. Equal keys make equal indices.

    Raises
    ------
    ConfigError : FAISS does not know the factory string, or cannot train it on N keys.
    """
    factory = choose_factory(factory, *keys.shape)
    try:
        # Two threads would link the nodes of a graph in any order.
        with one_thread() if "HNSW" in factory else nullcontext():
            index = faiss.index_factory(keys.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            if not index.is_trained:
                index.train(_sample(keys, index))
            for start in range(0, len(keys), BLOCK):
                index.add(normalise(keys[start : start + BLOCK]))
    except RuntimeError as error:
        problem = f"FAISS cannot build it over {len(keys)} memories ({str(error).splitlines()[-1].strip()})"
        raise ConfigError("index_factory", factory, problem, "use Flat, or fewer lists") from error
    ivf = faiss.try_extract_index_ivf(index)  # also after a transform, as in "PCA32,IVF512,Flat"
    if ivf is not None:
        ivf.nprobe = min(nprobe, ivf.nlist)
    return index


def is_tiled(index: faiss.Index, depth: int) -> bool:
    """Whether :func:`search_index` searches tile by tile for many queries. FAISS's own search is faster if deep."""
    return isinstance(index, faiss.IndexFlat) and index.ntotal >= _TILED * depth


def search_index(index: faiss.Index, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Rough cosines and numbers [Q, depth] of the keys nearest to unit ``queries`` [Q, D]; -1 where there are none."""
    if len(queries) > _FEW and is_tiled(index, depth):
        return _search_tiles(cast(faiss.IndexFlat, index), queries, depth)
    # On a busy machine, waking FAISS's other threads takes longer than a search for one query.
    with one_thread() if len(queries) == 1 else nullcontext():
        return index.search(queries, depth)


def _search_tiles(index: faiss.IndexFlat, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`search_index`. FAISS's own search writes more products than a cache holds before it reads them."""
    keys = torch.from_numpy(faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(-1, index.d))
    room = torch.empty(min(len(queries), _ROWS) * _TILE)
    found = []
    for vectors in torch.from_numpy(queries).split(_ROWS):
        best = Best(len(vectors), depth, len(keys))
        for tile in keys.split(_TILE):
            best.add(products(vectors, tile, room))
        found.append(best.sorted())
    rough, near = zip(*found)
    return np.concatenate(rough), np.concatenate(near)


def effort(index: faiss.Index) -> tuple[Any, str, int] | None:
    """The object and the name of the number that trades time for recall, and its maximum. None if there is none."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        return ivf, "nprobe", ivf.nlist
    while not hasattr(index, "hnsw"):
        inner = getattr(index, "base_index", None) or getattr(index, "index", None)  # behind a refinement, a transform
        if inner is None:
            return None
        index = faiss.downcast_index(inner)
    return index.hnsw, "efSearch", min(index.ntotal, _MOST_NODES)


def save_index(index: faiss.Index, path: str | Path) -> None:
    """Write ``index`` with its ``nprobe`` to ``path``. The caller replaces older files atomically.

    Raises
    ------
    DataError : the file cannot be written.
    """
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        problem = f"the index cannot be written ({_reason(error)})"
        raise DataError("index", str(path), problem, "free some space or give another folder") from error


def load_index(path: str | Path, mmap: bool) -> faiss.Index:
    """Read an index that :func:`save_index` wrote. The caller checks the file's size and SHA-256 before.

    Parameters
    ----------
    mmap : leave the codes on disk, and read only the lists that a search visits, if the index has lists. The file must
        not change meanwhile.

    Raises
    ------
    DataError : the file is missing, or FAISS cannot read it.
    """
    try:
        return faiss.read_index(str(path), _mapping(path) if mmap else 0)
    except (OSError, RuntimeError, MemoryError) as error:  # a wrong length makes FAISS ask for too much memory
        problem = f"not an index that FAISS can read ({_reason(error)})"
        raise DataError("index", str(path), problem, "build the index again") from error


def normalise(vectors: np.ndarray) -> np.ndarray:
    """[N, D] -> [N, D], each row scaled to length 1. A zero row stays zero."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norm, 1e-12), dtype=np.float32)


def _sample(keys: np.ndarray, index: faiss.Index) -> np.ndarray:
    """Random keys to train on, scaled to length 1; all keys if they are few."""
    ivf = faiss.try_extract_index_ivf(index)
    size = max(_TRAINED_ON, _A_LIST * ivf.nlist if ivf is not None else 0)
    if len(keys) <= size:
        return normalise(keys)
    rows = np.random.default_rng(0).choice(len(keys), size, replace=False)
    return normalise(keys[np.sort(rows)])


def _mapping(path: str | Path) -> int:
    """FAISS's flag that maps an index with lists, also after a transform. One without lists is read whole.

    FAISS can map those too, but it ends the process when such an index grows.
    """
    with open(path, "rb") as file:
        kind = file.read(4)
    return faiss.IO_FLAG_MMAP if kind[:2] == b"Iw" or kind == b"IxPT" else 0


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[-1].strip()
