"""The pairs of a part in the form that RecBole's loaders and models read, created on demand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_raserec.data.sequences import Prefixes

PREFIX_LENGTH = "prefix_length"


class PrefixFeat:
    """Replaces RecBole's augmented ``inter_feat``. A batch is padded only when it is requested.

    Parameters
    ----------
    inter : the interactions sorted by user and time, one tensor [n, ...] per field.
    prefixes : the (prefix, target) pairs of this part.
    list_fields : ``{field: name of its history field}``.
    """

    def __init__(
        self,
        inter: Interaction,
        prefixes: Prefixes,
        list_fields: dict[str, str],
        length_field: str,
        max_length: int,
    ) -> None:
        self.inter, self.prefixes, self.list_fields = inter, prefixes, list_fields
        self.length_field, self.max_length = length_field, max_length

    def __len__(self) -> int:
        return len(self.prefixes)

    def __iter__(self) -> Any:
        return iter(self.inter)

    def __contains__(self, field: str) -> bool:
        return field in self.inter

    def __getitem__(self, index: Any) -> Any:
        """A field's values at the targets ([R, ...]), or the rows ``index`` as an Interaction.

        The Interaction has the content of RecBole's: every field at the target, the field's history [B, L]
        padded with 0 on the right, and ``item_length`` (at most L). RecBole cuts ``item_length``, so
        ``prefix_length`` is added: the number of all items before the target.
        """
        if isinstance(index, str):
            return self.inter[index][torch.from_numpy(self.prefixes.target_at)]
        rows = self._rows(index)
        positions, real = (torch.from_numpy(a) for a in self.prefixes.windows(rows, self.max_length))
        target_at = torch.from_numpy(self.prefixes.target_at[rows])
        fields = {field: self.inter[field][target_at] for field in self.inter}
        fields[self.length_field] = real.sum(dim=1)
        fields[PREFIX_LENGTH] = torch.from_numpy(self.prefixes.take(rows).lengths)
        for field, list_field in self.list_fields.items():
            history = self.inter[field][positions]  # [B, L, ...]
            keep = real.reshape(real.shape + (1,) * (history.dim() - 2))
            fields[list_field] = history * keep
        return Interaction(fields)

    def _rows(self, index: Any) -> np.ndarray:
        """The numbers [B] of the rows of an index. Numbers take a time that does not grow with the part."""
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        rows = np.atleast_1d(np.asarray(index))
        return np.arange(len(self))[rows] if rows.dtype == bool else rows
