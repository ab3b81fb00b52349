"""Rows of unequal length as flat items and offsets: row ``r`` is ``items[offsets[r]:offsets[r + 1]]``.

And rows in blocks.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def ragged_arange(counts: Array) -> Array:
    """[sum(counts)] 0, 1, ..., counts[0] - 1, 0, 1, ..., counts[1] - 1, ..."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def spans(start: Array, counts: Array) -> Array:
    """[sum(counts)] start[0], ..., start[0] + counts[0] - 1, start[1], ...: the positions of all rows in turn."""
    return np.repeat(start, counts) + ragged_arange(counts)


def offsets_of(counts: Array) -> Array:
    """[R + 1] offsets of rows with ``counts`` [R] items."""
    return np.r_[0, np.cumsum(counts)]


def take(items: Array, offsets: Array, rows: Array) -> tuple[Array, Array]:
    """Items and offsets of the rows numbered ``rows``, in that order."""
    counts = np.diff(offsets)[rows]
    return items[spans(offsets[:-1][rows], counts)], offsets_of(counts)


def blocks_of(rows: Array, size: int) -> list[Array]:
    """``rows`` in parts of nearly equal size, at most ``size``."""
    # array_split is slow for a single query
    return [rows] if len(rows) <= size else np.array_split(rows, -(-len(rows) // max(1, size)))
