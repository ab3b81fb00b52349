"""DuoRec on packed windows: SASRec and a contrastive term between views of the same target."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.backbones.sasrec import SASRec
from recbole_raserec.data.batches import blocks_by_length
from recbole_raserec.data.same_target import SameTarget
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.losses import catalogue_cross_entropy


class DuoRec(SASRec):
    """Qiu et al., "Contrastive Learning for Representation Degeneration Problem in Sequential Rec.", WSDM 2022.

    Of every (prefix, target) pair there are two views: a second dropout pass of the prefix, and the
    encoding of another training prefix with the same target. InfoNCE over the 2 N views of a batch.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.weight, self.tau = config["contrast_weight"], config["contrast_tau"]
        self.same_target: SameTarget | None = None

    def use_training(self, prefixes: Prefixes) -> None:
        """The rows that partners are drawn from; called once, before training."""
        self.same_target = SameTarget(prefixes)

    def packed_loss(self, batch: list[Interaction], budget: int) -> Tensor:
        """(cross entropy of every pair + ``contrast_weight`` x InfoNCE of its two views), summed, over ``budget``."""
        assert self.same_target is not None
        pairs = self.packed_pairs(batch)
        items = self.item_embedding.weight
        loss = catalogue_cross_entropy(pairs.hidden, items, pairs.targets, self.negatives, pairs.weights)
        if self.weight:
            second = self.packed_pairs(batch).hidden
            partners = self._encode_rows(self.same_target.draw(pairs.target_at.numpy()))
            loss = loss + self.weight * len(second) * info_nce(second, partners, self.tau)
        return loss / budget

    def _encode_rows(self, rows: np.ndarray) -> Tensor:
        """[N, D] user vectors of training rows [N], prefixes of like length together."""
        prefixes = self.same_target.prefixes
        length = np.minimum(prefixes.lengths[rows], self.max_seq_length)
        items = torch.from_numpy(prefixes.sequences.items)
        blocks, vectors = blocks_by_length(length, length), []
        for block in blocks:
            positions, real = (torch.from_numpy(a) for a in prefixes.windows(rows[block], int(length[block].max())))
            item_seq = items[positions] * real
            vectors.append(self(item_seq.to(self.device), real.sum(dim=1).to(self.device)))
        back = torch.from_numpy(np.argsort(np.concatenate(blocks)))
        return torch.cat(vectors)[back.to(self.device)]


def info_nce(first: Tensor, second: Tensor, tau: float) -> Tensor:
    """Mean over the 2 N views of -log softmax(similarity)[the other view], by inner product over ``tau``.

    A view is compared with all 2 N - 1 others: [N, D], [N, D] -> scalar.
    """
    views = torch.cat([first, second])
    similarity = (views @ views.T / tau).fill_diagonal_(-torch.inf)
    other = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(similarity, other)
