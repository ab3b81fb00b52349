"""Keys for a memory of any size: like those of a trained model, or made without one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH = 64
_BLOCK = 2**17  # keys that are made at once


@dataclass(frozen=True)
class Keys:
    """A distribution of keys.

    Attributes
    ----------
    centres : [M, D] unit vectors.
    weights : [M] ascending sums of the centres' probabilities; the last is 1.
    distances : [S] a key's distance to its centre is one of these.
    """

    centres: np.ndarray
    weights: np.ndarray
    distances: np.ndarray

    def draw(self, count: int, seed: int) -> np.ndarray:
        """[count, D] float32."""
        rng = np.random.default_rng(seed)
        keys = np.empty((count, self.centres.shape[1]), np.float32)
        for start in range(0, count, _BLOCK):
            part = keys[start : start + _BLOCK]
            step = rng.standard_normal(part.shape, np.float32)
            step *= (rng.choice(self.distances, len(part)) / np.linalg.norm(step, axis=1))[:, None].astype(np.float32)
            part[:] = self.centres[np.searchsorted(self.weights, rng.random(len(part)), side="right")] + step
        return keys


def real_keys(file: str) -> tuple[Keys, dict[str, Any]]:
    """Keys like those of a trained model's memory, and what to write about them into the result."""
    import faiss
    import torch

    from recbole_raserec.retrieval.index import normalise

    raw = torch.load(file, map_location="cpu", weights_only=True)["memory"]["keys"].numpy()
    keys = normalise(raw)
    different = np.unique(keys, axis=0)
    some = different[np.random.default_rng(0).permutation(len(different))[:1000]]
    squares = faiss.knn(some, different, 2)[0][:, 1]  # the nearest is the key itself
    weights = np.arange(1, len(keys) + 1) / len(keys)
    about = {"keys": "of a model", "count": len(keys), "sha256": hashlib.sha256(raw.tobytes()).hexdigest()}
    return Keys(keys, weights, np.sqrt(np.maximum(squares, 0))), about


def made_keys(size: int) -> tuple[Keys, dict[str, Any]]:
    """Clusters without a model. There are size / 30, and the n-th largest has a share proportional to 1 / sqrt(n).

    Four clusters are near each other. The bounds of the distances are chosen so that IVF181,SQ8 with 16 lists visited
    finds as much as on Beauty's own keys (.96); with 131,413 keys, the 20th neighbour is .4 to 1 away.
    """
    rng = np.random.default_rng(0)
    count = max(size // 30, 1)
    groups = rng.standard_normal((max(count // 4, 1), WIDTH), np.float32)
    centres = _unit(
        _unit(groups)[np.arange(count) % len(groups)] + _unit(rng.standard_normal((count, WIDTH), np.float32))
    )
    shares = 1 / np.sqrt(np.arange(1, count + 1))
    weights = np.cumsum(shares) / shares.sum()
    weights[-1] = 1.0
    return Keys(centres, weights, rng.uniform(0.1, 0.9, 1000)), {"keys": "clusters"}


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
