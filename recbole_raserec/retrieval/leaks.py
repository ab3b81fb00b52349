"""Leaks: memories that a query must not see, above all those that contain its target. And how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Asked:
    """Who asks: Q queries.

    Attributes
    ----------
    vectors : [Q, D] user vectors.
    users, lengths : [Q] user of each query, and number of items in its prefix.
    hidden : [N] bool, memories that none of them sees; or None.
    before : [Q] a time for each query, or None: it sees those of unknown time, and none of this time or later.
    """

    vectors: np.ndarray
    users: np.ndarray
    lengths: np.ndarray
    hidden: np.ndarray | None = None
    before: np.ndarray | None = None


class Leaks:
    """Memories that a query must not see: its user's with a prefix as long as its own or longer, hidden, late ones."""

    def __init__(self, owners: np.ndarray, lengths: np.ndarray, times: np.ndarray) -> None:
        """``owners``, ``lengths`` and ``times`` [N] are those of all memories."""
        self._owners, self._lengths, self._times = owners, lengths, times

    def among(self, near: np.ndarray, asked: Asked, rows: np.ndarray) -> np.ndarray:
        """[R, K] which of the memories ``near`` [R, K] are leaks for the queries ``rows`` [R]."""
        leak = (self._owners[near] == asked.users[rows, None]) & (self._lengths[near] >= asked.lengths[rows, None])
        if asked.hidden is not None:
            leak |= asked.hidden[near]
        if asked.before is not None:
            leak |= self._times[near] >= asked.before[rows, None]
        return leak

    def count(self, asked: Asked, rows: np.ndarray) -> np.ndarray:
        """[R] number of leaks of each of the queries ``rows`` [R] at most."""
        if len(rows) == 0:
            return np.zeros(0, np.int64)
        span, ordered = self._ordered
        user = asked.users[rows].astype(np.int64) * span
        shorter = np.searchsorted(ordered, user + np.minimum(asked.lengths[rows], span - 1))
        count = np.searchsorted(ordered, user + span) - shorter
        count += 0 if asked.hidden is None else np.count_nonzero(asked.hidden)
        return count + (0 if asked.before is None else np.count_nonzero(self._times >= asked.before[rows].min()))

    @cached_property
    def _ordered(self) -> tuple[int, np.ndarray]:
        """span = longest prefix + 2, and owner x span + length of all memories, sorted."""
        span = int(self._lengths.max()) + 2
        return span, np.sort(self._owners.astype(np.int64) * span + self._lengths)
