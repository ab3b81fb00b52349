"""Retrieved memories: what attention, mixture and explanations read of a memory bank."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

NO_MEMORY = -1


@dataclass(frozen=True)
class Neighbours:
    """The K nearest memories of each of R rows.

    Attributes
    ----------
    indices : [R, K] numbers of memories in the bank, nearest first, ``NO_MEMORY`` after the last.
    keys : [N, D] of the whole bank.
    targets : [N] item that followed each key.
    """

    indices: Tensor
    keys: Tensor
    targets: Tensor

    def __getitem__(self, rows: Tensor) -> Neighbours:
        """Those of the rows [B]."""
        return replace(self, indices=self.indices[rows])

    def nearest(self, k: int) -> Neighbours:
        """The first ``k`` of each row."""
        return replace(self, indices=self.indices[:, :k])

    def to(self, device: torch.device) -> Neighbours:
        """The same on ``device``."""
        return Neighbours(self.indices.to(device), self.keys.to(device), self.targets.to(device))

    @property
    def is_empty(self) -> bool:
        """Whether the bank holds no memory at all."""
        return len(self.targets) == 0

    @property
    def real(self) -> Tensor:
        """[R, K] where there is a memory."""
        return self.indices != NO_MEMORY

    @property
    def vectors(self) -> Tensor:
        """[R, K, D] keys of the memories; those of places without one mean nothing."""
        return self.keys[self._at]

    @property
    def items(self) -> Tensor:
        """[R, K] targets of the memories; those of places without one mean nothing."""
        return self.targets[self._at]

    @property
    def _at(self) -> Tensor:
        return self.indices.clamp(min=0).long()
