"""Leaks: memories that contain the target of a query. How many there are for each query, and which."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from recbole_raserec.runtime.ragged import spans


class Leaks:
    """The memories of a query's own user with a prefix as long as the query's, or longer."""

    def __init__(self, owners: np.ndarray, lengths: np.ndarray) -> None:
        """``owners`` and ``lengths`` [N] are those of all memories."""
        self._owners, self._lengths = owners, lengths

    def count(self, users: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[Q] number of leaks of each query, given its user and the length of its prefix [Q]."""
        first, end = self._range(users, lengths)
        return end - first

    def of(self, users: np.ndarray, lengths: np.ndarray, at: slice) -> tuple[np.ndarray, np.ndarray]:
        """The leaks of the queries ``at``: for each, the number of the query from the first of them, and the memory."""
        first, end = self._range(users[at], lengths[at])
        return np.repeat(np.arange(len(first)), end - first), self._ordered[2][spans(first, end - first)]

    def _range(self, users: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[Q] the first leak of each query among the ordered memories, and the end of its leaks."""
        span, ordered, _ = self._ordered
        user = users.astype(np.int64) * span
        return np.searchsorted(ordered, user + np.minimum(lengths, span - 1)), np.searchsorted(ordered, user + span)

    @cached_property
    def _ordered(self) -> tuple[int, np.ndarray, np.ndarray]:
        """span = longest prefix + 2; owner x span + length of all memories, sorted; and their numbers in this order."""
        span = int(self._lengths.max()) + 2
        place = self._owners.astype(np.int64) * span + self._lengths
        order = np.argsort(place, kind="stable")
        return span, place[order], order
