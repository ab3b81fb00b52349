"""Search for many queries at once, list by list: near queries read the same keys, so the scan is a product of matrices.

An inverted file (Jégou et al., 2011) scans lists for each query on its own. Here the queries of a list choose the lists
that all of them read. With lists of a fixed size, a query costs the same however many keys there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_raserec.retrieval.index import AUTO, LISTS, best_of, normalise
from recbole_raserec.retrieval.neighbours import NO_MEMORY

KEYS_A_LIST = 60
FEW, PART = 4096, 16  # a part of the data has FEW rows or more, and at most PART times fewer than a bank
READ = 3 * 2**12  # keys; on Beauty's memory, .97 of the 20 nearest memories are among them
MOST = 2**17  # keys that are worth reading
_NEAR, _NEARER = 2**16, 2**10  # lists that are compared with a group, and those that are compared with its queries
_TOGETHER = 256  # queries of a group at most
_SHARPNESS = 16.0  # a list counts exp(16 (cosine - best cosine)) for a query
_GROUP = 32  # columns of which only the best one is looked at first
_BLOCK = 2**17  # keys that are scaled at once
_TRAINED_ON = 128  # keys for each centroid
_AROUND = 16  # regions in which a vector's list is looked for
_MOVES = 2
_SAMPLE = 2**18  # keys that the regions are trained on


@dataclass
class Lists:
    """N unit keys in lists of near keys, and the lists in regions of near lists.

    Attributes
    ----------
    regions : [M, D] unit centroids of the regions.
    centroids : [L, D] unit centroids of the lists, region by region.
    first : [M + 1] number of each region's first list.
    starts : [L + 1] place of each list's first key in ``order``.
    order : [N] numbers of the keys, list by list.
    codes : [N, D] float16 difference of each key and its list's centroid, in this order. Small differences are exact.
    read : keys that each query is compared with. More keys find more, and take longer.
    """

    regions: Tensor
    centroids: Tensor
    first: np.ndarray
    starts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    codes: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    read: int = READ

    @property
    def ntotal(self) -> int:
        """N, by FAISS's name."""
        return len(self.order)

    def sample(self, count: int) -> np.ndarray:
        """Numbers of about ``count`` keys, or of all: those of some lists, because a search takes them together."""
        lists = np.random.default_rng(0).permutation(len(self.centroids))
        enough = np.searchsorted(np.cumsum(np.diff(self.starts)[lists]), count) + 1
        return self.order[_spans(self.starts, lists[:enough])]

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """[Q] list of each vector [Q, D]: the nearest one in the regions around the vector's nearest region."""
        lists = np.empty(len(vectors), np.int64)
        for start in range(0, len(vectors), _BLOCK):
            part = normalise(vectors[start : start + _BLOCK])
            region = _nearest(part, self.regions.numpy())
            for rows in _runs(region):
                near = self._around[region[rows[0]]]
                lists[start + rows] = near[_nearest(part[rows], self.centroids[torch.from_numpy(near)].numpy())]
        return lists

    @cached_property
    def _around(self) -> list[np.ndarray]:
        """The lists of the regions nearest to each region."""
        near = [_top(cosine, _AROUND) for cosine in self.regions @ self.regions.T]
        return [_spans(self.first, np.sort(regions)) for regions in near]

    def search(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and numbers [Q, depth] of keys near unit ``queries`` [Q, D]; -1 if there are none.

        The queries of a list read the same keys. So a search takes least time if all queries near each other are in it.
        """
        cosines = np.full((len(queries), depth), -np.inf, np.float32)
        numbers = np.full((len(queries), depth), NO_MEMORY, np.int64)
        lists = self.assign(queries)
        for rows in _runs(lists):
            for start in range(0, len(rows), _TOGETHER):
                group = rows[start : start + _TOGETHER]
                vectors = torch.from_numpy(queries[group])
                chosen = self._choose(vectors, max(self.read, 2 * depth))
                places = _spans(self.starts, chosen)
                best, place = best_of(vectors @ self._keys(chosen, places).T, min(depth, len(places)), _GROUP)
                cosines[group, : best.shape[1]] = best.numpy()
                numbers[group, : best.shape[1]] = self.order[places[place.numpy()]]
        return cosines, numbers

    def _keys(self, lists: np.ndarray, places: np.ndarray) -> Tensor:
        """The keys at ``places`` [P], which are all keys of ``lists``."""
        sizes = torch.from_numpy(self.starts[lists + 1] - self.starts[lists])
        centroids = self.centroids[torch.from_numpy(lists)].repeat_interleave(sizes, dim=0)
        return centroids.add_(self.codes[torch.from_numpy(places)])

    def _choose(self, group: Tensor, read: int) -> np.ndarray:
        """The lists that a group of queries [G, D] reads: those nearest to its queries, with about ``read`` keys."""
        mean = group.mean(dim=0)
        lists = np.arange(len(self.centroids))
        if len(lists) > _NEAR:
            regions = _top(self.regions @ mean, math.ceil(len(self.regions) * _NEAR / len(lists)))
            lists = _spans(self.first, regions)
        if read < KEYS_A_LIST * _NEARER // 2:
            lists = lists[_top(self.centroids[torch.from_numpy(lists)] @ mean, _NEARER)]
        cosine = group @ self.centroids[torch.from_numpy(lists)].T  # [G, lists]
        share = (_SHARPNESS * (cosine - cosine.amax(dim=1, keepdim=True))).exp().sum(dim=0)
        lists = lists[share.argsort(descending=True).numpy()]
        enough = np.searchsorted(np.cumsum(self.starts[lists + 1] - self.starts[lists]), read) + 1
        return lists[:enough]


def for_part(factory: str, count: int, queries: int) -> bool:
    """Whether so many queries in a bank of ``count`` memories are the rows of a part of the data, searched by lists."""
    return factory in (AUTO, LISTS) and queries >= max(FEW, count // PART)


def build_lists(keys: np.ndarray) -> Lists:
    """Divide ``keys`` [N, D] into about N / 60 lists by k-means. Equal keys make equal lists.

    The keys of each region are divided on their own; then all lists move together, so that regions have no borders.
    """
    count, width = keys.shape
    sample = np.random.default_rng(0).permutation(count)[:_SAMPLE]
    regions = _centroids(normalise(keys[np.sort(sample)]), round(math.sqrt(count / KEYS_A_LIST)))
    blocks = [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]
    region = np.concatenate([_nearest(normalise(keys[block]), regions) for block in blocks])
    centroids = []
    for number in range(len(regions)):
        part = keys[np.flatnonzero(region == number)]
        centroids.append(_centroids(normalise(part), round(len(part) / KEYS_A_LIST)))
    first = np.cumsum([0, *map(len, centroids)])
    found = Lists(torch.from_numpy(regions), torch.from_numpy(np.concatenate(centroids)), first)
    for _ in range(_MOVES):
        lists = found.assign(keys)
        sums = torch.zeros_like(found.centroids)
        for block in blocks:
            sums.index_add_(0, torch.from_numpy(lists[block]), torch.from_numpy(normalise(keys[block])))
        empty = sums.norm(dim=1, keepdim=True) == 0
        found.centroids[:] = torch.where(empty, found.centroids, F.normalize(sums, dim=1))
    lists = found.assign(keys)
    found.order = np.argsort(lists, kind="stable")
    found.starts = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=len(found.centroids)))])
    found.codes = torch.empty(count, width, dtype=torch.float16)
    for block in blocks:
        rows = found.order[block]
        found.codes[block] = torch.from_numpy(normalise(keys[rows])) - found.centroids[torch.from_numpy(lists[rows])]
    return found


def _centroids(vectors: np.ndarray, count: int) -> np.ndarray:
    """[C, D] unit centroids of unit ``vectors`` [R, D] by k-means; C is at least 1, unless R is 0."""
    count = min(max(1, count), len(vectors))
    if count == 0:
        return vectors
    settings = {"niter": 10, "spherical": True, "seed": 0, "min_points_per_centroid": 1}
    means = faiss.Kmeans(vectors.shape[1], count, max_points_per_centroid=_TRAINED_ON, **settings)
    means.train(vectors)
    return normalise(np.asarray(means.centroids))


def _nearest(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """[R] row of ``centroids`` [C, D] with the highest cosine to each unit vector [R, D]."""
    return faiss.knn(vectors, centroids, 1, metric=faiss.METRIC_INNER_PRODUCT)[1][:, 0]


def _runs(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each number in ``numbers`` [R], in the order of the numbers."""
    rows = np.argsort(numbers, kind="stable")
    return iter(np.split(rows, np.flatnonzero(np.diff(numbers[rows])) + 1)) if len(rows) else iter(())


def _spans(starts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The numbers from ``starts[c]`` to ``starts[c + 1]``, without the last, for each c of ``chosen`` in turn."""
    sizes = starts[chosen + 1] - starts[chosen]
    return np.arange(sizes.sum()) + np.repeat(starts[chosen] - np.cumsum(sizes) + sizes, sizes)


def _top(scores: Tensor, count: int) -> np.ndarray:
    """Numbers of the ``count`` highest scores [C], or of all if they are fewer."""
    return scores.topk(min(count, len(scores)), sorted=False).indices.numpy()
