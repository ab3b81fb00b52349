"""Leaks: memories that contain the target of a query. How many there are for each query."""

from __future__ import annotations

import numpy as np


class Leaks:
    """Counts the memories of a query's own user with a prefix as long as the query's, or longer."""

    def __init__(self, owners: np.ndarray, lengths: np.ndarray) -> None:
        """``owners`` and ``lengths`` [N] are those of all memories."""
        self._span = int(lengths.max(initial=0)) + 2
        self._ordered = np.sort(owners.astype(np.int64) * self._span + lengths)

    def count(self, users: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[Q] number of leaks of each query, given its user and the length of its prefix [Q]."""
        user = users.astype(np.int64) * self._span
        longer = np.searchsorted(self._ordered, user + self._span)
        return longer - np.searchsorted(self._ordered, user + np.minimum(lengths, self._span - 1))
