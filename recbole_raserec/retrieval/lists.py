"""Search for many queries at once, list by list: near queries read the same keys, so the scan is a product of matrices.

An inverted file (Jégou et al., 2011) scans lists for each query on its own. Here the queries of a list choose the lists
that all of them read. The number of keys that a query reads does not depend on their number; what it costs to choose
the lists grows with the square root of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_raserec.retrieval.best import Best, in_heaps, products
from recbole_raserec.retrieval.index import AUTO, BLOCK, LISTS, normalise
from recbole_raserec.retrieval.list_segment import KEYS_A_LIST, Room, Segment
from recbole_raserec.retrieval.neighbours import NO_MEMORY
from recbole_raserec.runtime.ragged import offsets_of, spans

FEW, PART = 4096, 16  # with fewer rows, or PART times fewer than memories, lists take longer to build than they save
READ = 3 * 2**12  # keys; on Beauty's memory, .97 of the 20 nearest memories are among them
MOST = 2**17  # keys that are worth reading
_NEAR, _NEARER = 3 * 2**12, 2**10  # lists that are compared with a group's mean, and those compared with its queries
_TOGETHER = 256  # queries of a group at most
_COSINES = 2**22  # that a deep search holds at once
_CACHED = 2**18  # cosines that stay in a core's cache
_SHARPNESS = 16.0  # a list counts exp(16 (cosine - best cosine)) for a query
_TRAINED_ON = 128  # keys for each centroid at most
_AROUND = 8  # regions in which a vector's list is looked for
_MOVES = 2


@dataclass
class Lists:
    """Unit keys in L lists of near keys, and the lists in regions of near lists.

    Attributes
    ----------
    regions : [M, D] unit centroids of the regions.
    centroids : [L, D] unit centroids of the lists, region by region.
    first : [M + 1] number of each region's first list.
    segments : the keys. Further keys are a segment of their own, so that the others are not copied.
    read : about so many keys are compared with each query. More keys find more, and take longer.
    """

    regions: Tensor
    centroids: Tensor
    first: np.ndarray
    segments: tuple[Segment, ...]
    read: int = READ

    @property
    def ntotal(self) -> int:
        """Number of keys, by FAISS's name."""
        return sum(len(segment.numbers) for segment in self.segments)

    def sample(self, count: int) -> np.ndarray:
        """As :meth:`Segment.sample`, of the keys that the lists were made for."""
        return self.segments[0].sample(count)

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """[Q] list of each vector [Q, D]: the nearest one in the regions around the vector's nearest region."""
        return _assign(vectors, self.regions, self.centroids, self.first)

    def search(self, queries: np.ndarray, depth: int, lists: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and numbers [Q, depth] of keys near unit ``queries`` [Q, D]; -1 if there are none.

        ``lists`` [Q] are those of the queries, if they are known. The queries of a list read the same keys, so a search
        is fastest if near queries are searched together.
        """
        cosines = np.full((len(queries), depth), -np.inf, np.float32)
        numbers = np.full((len(queries), depth), NO_MEMORY, np.int64)
        read = max(self.read, 2 * depth)
        room = Room(_TOGETHER, self.centroids.shape[1])
        for near, group in self._groups(self.assign(queries) if lists is None else lists, read):
            vectors = torch.from_numpy(queries[group])
            cosines[group], numbers[group] = self._scan(vectors, self._choose(vectors, near, read), depth, room)
        return cosines, numbers

    def grown(self, keys: np.ndarray) -> Lists:
        """These lists and further ``keys`` [M, D], numbered from N on. Each joins the list that is nearest to it."""
        segment = Segment.of(keys, self.assign(keys), self.centroids, self.ntotal)
        return replace(self, segments=(*self.segments, segment))

    def _scan(self, vectors: Tensor, lists: np.ndarray, depth: int, room: Room) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`search`, for unit ``vectors`` [G, D] and the keys in ``lists``."""
        keys = [segment.places(lists) for segment in self.segments]
        numbers = np.concatenate([segment.numbers[places] for segment, (places, _) in zip(self.segments, keys)])
        together = len(vectors) if in_heaps(depth, len(numbers)) else max(1, _COSINES // len(numbers))
        found = []
        for part in vectors.split(together):
            best = Best(len(part), depth, len(numbers))
            for segment, (places, owners) in zip(self.segments, keys):
                for tile in segment.tiles(places, owners, self.centroids, room):
                    best.add(products(part, tile, room.products))
            found.append(best.sorted())
        cosines, columns = (np.concatenate(parts) for parts in zip(*found))
        return cosines, np.where(columns == NO_MEMORY, NO_MEMORY, numbers[columns])

    def _groups(self, lists: np.ndarray, read: int) -> Iterator[tuple[tuple[np.ndarray, Tensor], np.ndarray]]:
        """At most 256 rows of ``lists`` [Q] that are in the same list; and the lists near its region."""
        region = np.searchsorted(self.first, lists, side="right") - 1
        for rows in _runs(region):
            near = self._near(int(region[rows[0]]), max(_NEAR, _NEAR * read // READ))
            for group in _runs(lists[rows]):
                yield from ((near, rows[group[start : start + _TOGETHER]]) for start in range(0, len(group), _TOGETHER))

    def _near(self, region: int, count: int) -> tuple[np.ndarray, Tensor]:
        """About ``count`` lists: those of the regions nearest to ``region``. And their centroids."""
        total = len(self.centroids)
        if total <= count:
            return np.arange(total), self.centroids
        regions = _top(self.regions @ self.regions[region], math.ceil(len(self.regions) * count / total))
        lists = spans(self.first[regions], self.first[regions + 1] - self.first[regions])
        return lists, self.centroids[torch.from_numpy(lists)]

    def _choose(self, group: Tensor, near: tuple[np.ndarray, Tensor], read: int) -> np.ndarray:
        """The lists that a group of queries [G, D] reads: those ``near`` its queries, with about ``read`` keys."""
        lists, centroids = near
        shortlist = _top(centroids @ group.mean(dim=0), max(_NEARER, 4 * read // KEYS_A_LIST))
        if self._sizes[lists[shortlist]].sum() >= read:
            lists, centroids = lists[shortlist], centroids.index_select(0, torch.from_numpy(shortlist))
        cosine = group @ centroids.T  # [G, lists]
        share = (_SHARPNESS * (cosine - cosine.amax(dim=1, keepdim=True))).exp().sum(dim=0)
        lists = lists[share.argsort(descending=True).numpy()]
        return lists[: np.searchsorted(np.cumsum(self._sizes[lists]), read) + 1]

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.sum([segment.sizes for segment in self.segments], axis=0)


def for_part(factory: str, count: int, rows: int) -> bool:
    """Whether a part of the data with so many rows is searched by lists, in a bank of ``count`` memories."""
    return factory in (AUTO, LISTS) and rows >= max(FEW, count // PART)


def build_lists(keys: np.ndarray) -> Lists:
    """Divide ``keys`` [N, D] into at most N / 60 lists by k-means. Equal keys make equal lists.

    The keys of each region are divided on their own; then all lists move together, so that regions have no borders.
    """
    blocks = [slice(start, start + BLOCK) for start in range(0, len(keys), BLOCK)]
    regions, region = _regions(keys, blocks)
    centroids = []
    for number in range(len(regions)):
        part = keys[np.flatnonzero(region == number)]
        centroids.append(_centroids(normalise(part), round(len(part) / KEYS_A_LIST)))
    first = offsets_of(np.array([len(part) for part in centroids]))
    centres = torch.from_numpy(np.concatenate(centroids))
    for _ in range(_MOVES):
        lists = _assign(keys, regions, centres, first)
        sums = torch.zeros_like(centres)
        for block in blocks:
            sums.index_add_(0, torch.from_numpy(lists[block]), torch.from_numpy(normalise(keys[block])))
        centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), centres)
    lists = _assign(keys, regions, centres, first)
    sizes = np.bincount(lists, minlength=len(centres))
    # Equal keys leave lists and regions empty. They would stand in the way of the others.
    full = sizes > 0
    before = offsets_of(full)
    regions, first = regions[torch.from_numpy(np.diff(before[first]) > 0)], np.unique(before[first])
    centres = centres[torch.from_numpy(full)]
    return Lists(regions, centres, first, (Segment.of(keys, before[lists], centres),))


def _assign(vectors: np.ndarray, regions: Tensor, centroids: Tensor, first: np.ndarray) -> np.ndarray:
    """[Q] list of each vector [Q, D], as :meth:`Lists.assign`."""
    near = [np.sort(_top(cosine, _AROUND)) for cosine in regions @ regions.T]
    around = [spans(first[numbers], first[numbers + 1] - first[numbers]) for numbers in near]
    lists = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), BLOCK):
        part = normalise(vectors[start : start + BLOCK])
        region = _nearest(part, regions.numpy())
        for rows in _runs(region):
            some = around[region[rows[0]]]
            lists[start + rows] = some[_nearest(part[rows], centroids[torch.from_numpy(some)].numpy())]
    return lists


def _regions(keys: np.ndarray, blocks: list[slice]) -> tuple[Tensor, np.ndarray]:
    """Unit centroids [M, D] of regions that hold a key, and the region of each of the ``keys`` [N, D]."""
    wanted = max(1, round(math.sqrt(len(keys) / KEYS_A_LIST)))
    sample = np.random.default_rng(0).permutation(len(keys))[: _TRAINED_ON * wanted]
    regions = _centroids(normalise(keys[np.sort(sample)]), wanted)
    region = np.concatenate([_nearest(normalise(keys[block]), regions) for block in blocks])
    full, region = np.unique(region, return_inverse=True)
    return torch.from_numpy(regions[full]), region


def _centroids(vectors: np.ndarray, count: int) -> np.ndarray:
    """[C, D] unit centroids of unit ``vectors`` [R, D] by k-means; C is at least 1 and at most R."""
    count = max(1, min(count, len(vectors)))
    settings = {"niter": 10, "spherical": True, "seed": 0, "min_points_per_centroid": 1}
    means = faiss.Kmeans(vectors.shape[1], count, max_points_per_centroid=_TRAINED_ON, **settings)
    means.train(vectors)
    return normalise(np.asarray(means.centroids))


def _nearest(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """[R] row of ``centroids`` [C, D] with the highest cosine to each unit vector [R, D]."""
    parts = torch.from_numpy(vectors).split(max(1, _CACHED // len(centroids)))
    centres = torch.from_numpy(centroids)
    return torch.cat([(centres @ part.T).max(dim=0).indices for part in parts]).numpy()


def _runs(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each number in ``numbers`` [R], in the order of the numbers."""
    rows = np.argsort(numbers, kind="stable")
    return iter(np.split(rows, np.flatnonzero(np.diff(numbers[rows])) + 1)) if len(rows) else iter(())


def _top(scores: Tensor, count: int) -> np.ndarray:
    """Numbers of the ``count`` highest scores [C], or of all if they are fewer."""
    return scores.topk(min(count, len(scores)), sorted=False).indices.numpy()
