"""Keys that entered lists together, as small differences to the lists' centroids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.retrieval.index import BLOCK, normalise
from recbole_raserec.runtime.ragged import offsets_of, spans

KEYS_A_LIST = 60
TILE = 2**12  # keys that are decoded and multiplied at once
_SAMPLED = 256  # keys of a list at most


class Room:
    """Memory for one tile of keys of width D and their products with at most R vectors, which each tile uses again."""

    def __init__(self, rows: int, width: int) -> None:
        self.products = torch.empty(rows * TILE)
        self.codes = torch.empty(TILE, width, dtype=torch.float16)
        self.keys, self.centres = torch.empty(2, TILE, width)


@dataclass(frozen=True)
class Segment:
    """N keys that entered L lists together.

    Attributes
    ----------
    starts : [L + 1] place of each list's first key.
    numbers : [N] numbers of the keys, list by list.
    codes : [N, D] float16 difference of each key and its list's centroid, in this order. Small ones lose little.
    """

    starts: np.ndarray
    numbers: np.ndarray
    codes: Tensor

    @classmethod
    def of(cls, keys: np.ndarray, lists: np.ndarray, centroids: Tensor, first: int = 0) -> Segment:
        """``keys`` [N, D] in their ``lists`` [N], whose unit centroids are [L, D]; numbered from ``first`` on."""
        order = np.argsort(lists, kind="stable")
        codes = torch.empty(keys.shape, dtype=torch.float16)
        for start in range(0, len(keys), BLOCK):
            rows = order[start : start + BLOCK]
            codes[start : start + BLOCK] = torch.from_numpy(normalise(keys[rows])) - centroids[lists[rows]]
        return cls(offsets_of(np.bincount(lists, minlength=len(centroids))), order + first, codes)

    @property
    def sizes(self) -> np.ndarray:
        """[L] number of keys in each list."""
        return np.diff(self.starts)

    def places(self, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[P] places of the keys in ``lists`` [C], and the list of each."""
        begin = self.starts[lists]
        sizes = self.starts[lists + 1] - begin
        return spans(begin, sizes), np.repeat(lists, sizes)

    def tiles(self, places: np.ndarray, lists: np.ndarray, centroids: Tensor, room: Room) -> Iterator[Tensor]:
        """The keys [T, D] at ``places`` [P], some at a time and always in the same memory.

        ``lists`` [P] are those of the keys; the centroids of all lists are [L, D].
        """
        for place, owner in zip(*(torch.from_numpy(numbers).split(TILE) for numbers in (places, lists))):
            codes, keys, centres = (rows[: len(place)] for rows in (room.codes, room.keys, room.centres))
            torch.index_select(self.codes, 0, place, out=codes)
            torch.index_select(centroids, 0, owner, out=centres)
            yield keys.copy_(codes).add_(centres)  # faster than a sum of both types

    def sample(self, count: int) -> np.ndarray:
        """Numbers of about ``count`` keys: those of random lists, because a search takes near queries together.

        Of each list there are at most 256, so that equal keys are not all of the sample.
        """
        lists = np.random.default_rng(0).permutation(len(self.starts) - 1)
        taken = np.minimum(self.sizes[lists], _SAMPLED)
        enough = slice(int(np.searchsorted(np.cumsum(taken), count)) + 1)
        return self.numbers[spans(self.starts[lists[enough]], taken[enough])]
