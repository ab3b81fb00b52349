"""Leaks: memories that contain the target of a query. How many there are for each query."""

from __future__ import annotations

from functools import cached_property

import numpy as np


class Leaks:
    """Counts the memories of a query's own user with a prefix as long as the query's, or longer."""

    def __init__(self, owners: np.ndarray, lengths: np.ndarray) -> None:
        """``owners`` and ``lengths`` [N] are those of all memories."""
        self._owners, self._lengths = owners, lengths

    def count(self, users: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[Q] number of leaks of each query, given its user and the length of its prefix [Q]."""
        if len(users) == 0:
            return np.zeros(0, np.int64)
        span, ordered = self._ordered
        user = users.astype(np.int64) * span
        return np.searchsorted(ordered, user + span) - np.searchsorted(ordered, user + np.minimum(lengths, span - 1))

    @cached_property
    def _ordered(self) -> tuple[int, np.ndarray]:
        """span = longest prefix + 2, and owner x span + length of all memories, sorted."""
        span = int(self._lengths.max()) + 2
        return span, np.sort(self._owners.astype(np.int64) * span + self._lengths)
