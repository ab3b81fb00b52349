"""Which training prefixes share a target: an index in O(N log N), never a table of all pairs."""

from __future__ import annotations

import numpy as np
import torch

from recbole_raserec.data.sequences import Prefixes


class SameTarget:
    """Draws, for a training row, another with the same target.

    Parameters
    ----------
    prefixes : the R rows that are trained on, their ``target_at`` ascending.
    """

    def __init__(self, prefixes: Prefixes) -> None:
        self.prefixes = prefixes
        targets = prefixes.targets
        self.order = np.argsort(targets, kind="stable")  # rows, those of a target together
        place = np.empty(len(targets), np.int64)
        place[self.order] = np.arange(len(targets))
        ordered = targets[self.order]
        self.begin = np.searchsorted(ordered, targets)  # [R] where a row's target begins in order
        self.size = np.searchsorted(ordered, targets, side="right") - self.begin
        self.own = place - self.begin  # [R] a row's own number among those of its target

    def draw(self, target_at: np.ndarray) -> np.ndarray:
        """Rows [N] drawn uniformly from the others of the same target, or the row itself if there is none.

        ``target_at`` [N] names the rows by the position of their target; the numbers come from torch's generator.
        """
        rows = np.searchsorted(self.prefixes.target_at, target_at)
        size, own = self.size[rows], self.own[rows]
        drawn = (torch.rand(len(rows), dtype=torch.float64).numpy() * (size - 1)).astype(np.int64)
        drawn += drawn >= own
        return self.order[self.begin[rows] + np.where(size == 1, own, drawn)]
