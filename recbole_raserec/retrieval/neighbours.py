"""Neighbours: the retrieved memories that attention, mixture and explanations read."""

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
    indices : [R, K] indices of memories in the bank, nearest first, ``NO_MEMORY`` after the last.
    keys : [N, D] keys of the whole bank.
    targets : [N] item that followed each key's prefix.
    """

    indices: Tensor
    keys: Tensor
    targets: Tensor

    def __getitem__(self, rows: Tensor) -> Neighbours:
        """The neighbours of the given rows [B]."""
        return replace(self, indices=self.indices[rows])

    def nearest(self, k: int) -> Neighbours:
        """The ``k`` nearest neighbours of each row."""
        return replace(self, indices=self.indices[:, :k])

    def to(self, device: torch.device) -> Neighbours:
        """The same neighbours on ``device``."""
        return Neighbours(self.indices.to(device), self.keys.to(device), self.targets.to(device))

    @property
    def is_empty(self) -> bool:
        """Whether the bank holds no memory."""
        return len(self.targets) == 0

    @property
    def real(self) -> Tensor:
        """[R, K] True where there is a memory."""
        return self.indices != NO_MEMORY

    @property
    def vectors(self) -> Tensor:
        """[R, K, D] keys of the memories. Where there is no memory, the values have no meaning."""
        return self.keys[self._at]

    @property
    def items(self) -> Tensor:
        """[R, K] targets of the memories. Where there is no memory, the values have no meaning."""
        return self.targets[self._at]

    @property
    def _at(self) -> Tensor:
        return self.indices.clamp(min=0).long()
