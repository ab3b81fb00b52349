"""FAISS indices from factory strings, over unit vectors with inner product (cosine)."""

from __future__ import annotations

import logging

import faiss
import numpy as np

from recbole_raserec.errors import ConfigError

_RECALL_QUERIES = 1000


def build_index(keys: np.ndarray, factory: str, nprobe: int) -> faiss.Index:
    """A trained and filled index over ``keys`` [N, D], which are float32 and have length 1.

    Raises
    ------
    ConfigError : FAISS does not know the factory string, or cannot train it on N keys.
    """
    try:
        index = faiss.index_factory(keys.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(keys)
        index.add(keys)
    except RuntimeError as error:
        problem = f"FAISS cannot build it over {len(keys)} memories ({str(error).splitlines()[-1].strip()})"
        raise ConfigError("index_factory", factory, problem, "use Flat, or fewer lists") from error
    ivf = faiss.try_extract_index_ivf(index)  # also after a transform, as in "PCA32,IVF512,Flat"
    if ivf is not None:
        ivf.nprobe = min(nprobe, ivf.nlist)
    return index


def log_recall(index: faiss.Index, keys: np.ndarray, k: int, seed: int) -> float:
    """Fraction of the exact ``k`` nearest keys that an approximate ``index`` finds. It is also logged."""
    rows = np.random.default_rng(seed).permutation(len(keys))[:_RECALL_QUERIES]
    exact = faiss.IndexFlatIP(keys.shape[1])
    exact.add(keys)
    truth, found = exact.search(keys[rows], k)[1], index.search(keys[rows], k)[1]
    recall = float(np.mean([len(np.intersect1d(t, f)) / k for t, f in zip(truth, found)]))
    logging.getLogger().info(f"index finds {recall:.1%} of the exact {k} nearest neighbours")
    return recall
