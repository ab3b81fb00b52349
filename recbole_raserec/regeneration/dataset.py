"""A RecBole data set whose training part also holds generated rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_raserec.config.checks import PARTS
from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.regeneration.rows import GeneratedRows, extend
from recbole_raserec.runtime.ragged import ragged_arange


class RegeneratedDataset(SequenceDataset):
    """``SequenceDataset`` with generated rows as further training sequences; ``regenerate_parts`` names their parts.

    Each generated row has its own user (``patterns-0``, ``decoded-0``, ...), after the real users. The validation
    and test parts do not change. Any RecBole sequential model can train on ``build()[0]``. Packed training also
    uses the weights ``pattern_weight`` and ``decode_weight`` of the parts.

    Parameters
    ----------
    rows : the rows that :class:`~recbole_raserec.regeneration.stage.Regeneration` made from the same data.
    """

    def __init__(self, config: Config, rows: GeneratedRows) -> None:
        self.rows = rows.of_parts(config["regenerate_parts"])
        super().__init__(config)

    @property
    def source(self) -> str:
        """Identifier of the training data, for the names of checkpoints."""
        return f"{self.sha256} {self.rows.digest()}"

    def data_augmentation(self) -> None:
        """Group the original interactions as RecBole does, then append the generated rows."""
        super().data_augmentation()
        rows, config = self.rows, self.config
        weights = {"patterns": config["pattern_weight"], "decoded": config["decode_weight"]}
        self.sequences = extend(self.sequences, rows, config["regenerate_parts"], weights, self.user_num)
        users = np.repeat(self.sequences.users[self.sequences.original :], rows.lengths)
        own = {self.uid_field: users, self.iid_field: rows.items, self.time_field: ragged_arange(rows.lengths)}
        columns = {}
        for field, values in self.inter_feat.interaction.items():
            new = torch.from_numpy(np.asarray(own.get(field, np.zeros(len(users))))).to(values.dtype)
            columns[field] = torch.cat([values, new.view(-1, *(1,) * (values.dim() - 1)).expand(-1, *values.shape[1:])])
        self.inter_feat = Interaction(columns)
        self._name_users()

    def _name_users(self) -> None:
        known = self.field2id_token[self.uid_field]
        taken = set(known)
        free = [_free_names(part, taken) for part in PARTS]
        names = np.array([next(free[part]) for part in self.rows.part], dtype=object)
        self.field2id_token[self.uid_field] = np.concatenate([known, names])
        self.field2token_id[self.uid_field] = {
            **self.field2token_id[self.uid_field], **{name: len(known) + n for n, name in enumerate(names)}
        }  # fmt: skip


def _free_names(part: str, taken: set[str]) -> Iterator[str]:
    """The names of a part's rows: part-0, part-1, and so on, without those of real users."""
    return (name for n in count() if (name := f"{part}-{n}") not in taken)
