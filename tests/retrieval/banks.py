"""Keys in clusters, and banks of them."""

from __future__ import annotations

import numpy as np

from recbole_raserec.retrieval.memory import MemoryBank


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
