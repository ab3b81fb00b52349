"""The highest products of queries and keys. They come tile by tile, so that each tile is in a cache when it is read."""

from __future__ import annotations

import faiss
import numpy as np
import torch
from torch import Tensor

from recbole_raserec.retrieval.neighbours import NO_MEMORY

_HEAPED = 16  # times fewer than the columns; deeper heaps are slower than sorting


def products(vectors: Tensor, keys: Tensor, room: Tensor) -> Tensor:
    """[R, P] products of vectors [R, D] and keys [P, D] in the memory ``room``: new memory takes as long as they do."""
    return torch.mm(vectors, keys.T, out=room[: len(vectors) * len(keys)].view(len(vectors), len(keys)))


def in_heaps(depth: int, columns: int) -> bool:
    """Whether :class:`Best` holds only the ``depth`` highest numbers of each row, and not all ``columns``."""
    return depth * _HEAPED <= columns


class Best:
    """The ``depth`` highest numbers of each of R rows of C columns, and their columns: in FAISS's heaps, or sorted."""

    def __init__(self, rows: int, depth: int, columns: int) -> None:
        self._values = np.full((rows, depth), -np.inf, np.float32)
        self._columns = np.full((rows, depth), NO_MEMORY, np.int64)
        self._read = 0
        self._all = None if in_heaps(depth, columns) else torch.empty(rows, columns)
        self._heaps = faiss.float_minheap_array_t()
        self._heaps.nh, self._heaps.k = rows, depth
        self._heaps.val, self._heaps.ids = faiss.swig_ptr(self._values), faiss.swig_ptr(self._columns)

    def add(self, part: Tensor) -> None:
        """Read the next columns: the contiguous ``part`` [R, P] float32 on the CPU."""
        rows, width = part.shape
        if self._all is None:
            assert rows == len(self._values) and part.is_contiguous()  # FAISS trusts the pointer
            self._heaps.addn(width, faiss.swig_ptr(part.numpy()), self._read, 0, rows)  # type: ignore[call-arg]
        else:
            self._all[:, self._read : self._read + width] = part
        self._read += width

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """[R, depth] numbers and their columns, highest first; -inf and -1 where there are none. To be called once."""
        if self._all is None:
            self._heaps.reorder()
            self._values[self._columns == NO_MEMORY] = -np.inf  # FAISS puts the lowest finite number there
        else:
            near = min(self._values.shape[1], self._read)
            best, columns = self._all[:, : self._read].topk(near, dim=1)
            self._values[:, :near], self._columns[:, :near] = best.numpy(), columns.numpy()
        return self._values, self._columns
