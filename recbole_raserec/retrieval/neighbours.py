"""Neighbours: the retrieved memories that attention, mixture and explanations read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor

NO_MEMORY = -1


@dataclass(frozen=True)
class Neighbours:
    """The K nearest memories of each of B rows.

    Attributes
    ----------
    indices : [B, K] numbers of memories in the bank, nearest first, ``NO_MEMORY`` after the last.
    keys : [N, D] of the whole bank, on the device of the indices.
    targets : [N] item that followed each key.
    trust : [N] weight of each memory, over 0 and at most 1; None if all are 1.
    """

    indices: Tensor
    keys: Tensor
    targets: Tensor
    trust: Tensor | None = None

    def nearest(self, k: int | None) -> Neighbours:
        """The ``k`` nearest neighbours of each row; None means all."""
        return replace(self, indices=self.indices[:, :k])

    @property
    def is_empty(self) -> bool:
        """Whether the bank holds no memory."""
        return len(self.targets) == 0

    @cached_property
    def real(self) -> Tensor:
        """[B, K] where there is a memory."""
        return self.indices != NO_MEMORY

    @property
    def vectors(self) -> Tensor:
        """[B, K, D] keys of the memories; those of places without one mean nothing."""
        return F.embedding(self._at, self.keys)  # faster than an index

    @property
    def items(self) -> Tensor:
        """[B, K] targets of the memories; those of places without one mean nothing."""
        return self.targets[self._at]

    @property
    def weights(self) -> Tensor | None:
        """[B, K] weights of the memories; those of places without one mean nothing. None if all are 1."""
        return None if self.trust is None else self.trust[self._at]

    @cached_property
    def _at(self) -> Tensor:
        return self.indices.clamp(min=0).long()
