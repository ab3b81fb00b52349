"""DuoRec: SASRec and a contrastive term between views of the same target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.backbones.blocks import Blocks, blocks_of, pairs_of
from recbole_raserec.backbones.protocol import Weigh
from recbole_raserec.backbones.sasrec import SASRec
from recbole_raserec.data.batches import TARGET_AT, blocks_by_length
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.errors import ConfigError

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config


class DuoRec(SASRec):
    """Qiu et al., "Contrastive Learning for Representation Degeneration Problem in Sequential Rec.", WSDM 2022.

    Every (prefix, target) pair has two views: a second dropout pass of the prefix, and the encoding of another
    training prefix with the same target. The contrastive loss is InfoNCE over the 2 N views of a batch.

    Raises
    ------
    ConfigError : ``average_form`` is not causal.
    """

    def __init__(self, config: Config, dataset: Any) -> None:
        super().__init__(config, dataset)
        if not self.causal:
            problem = "its layer sees the future, and DuoRec's contrastive loss needs whole windows"
            mend = "give --average_form=mean or filter, or --backbone=SASRec"
            raise ConfigError("average_form", config["average_form"], problem, mend)
        self.weight, self.tau = config["contrast_weight"], config["contrast_tau"]
        self.same_target: SameTarget | None = None

    def use_training(self, prefixes: Prefixes) -> None:
        """Set the pairs from which partners are drawn."""
        self.same_target = SameTarget(prefixes)

    def packed_loss(self, batch: list[Interaction], budget: int, weigh: Weigh | None = None) -> Tensor:
        """Sum over the pairs of (cross entropy + ``contrast_weight`` x InfoNCE of the two views), over ``budget``."""
        assert self.same_target is not None, "use_training was not called"
        blocks = blocks_of(batch, self.ITEM_SEQ)
        target_at = torch.cat([block[TARGET_AT].flatten() for block in batch])
        rows = self.same_target.draw(target_at[blocks.selected].numpy())
        partners = prefix_blocks(self.same_target.prefixes, rows, self.max_seq_length)
        asked = len(target_at)
        views = self.encode(
            blocks.windows * 2 + partners.windows,
            blocks.lasts * 2 + partners.lasts,
            torch.cat([blocks.selected, asked + blocks.selected, 2 * asked + partners.selected]),
        )
        hidden, second, other = views.split(len(blocks.selected))
        loss = self.pairs_loss(pairs_of(batch, blocks, hidden), weigh)
        return (loss + self.weight * len(hidden) * info_nce(second, other, self.tau)) / budget


def prefix_blocks(prefixes: Prefixes, rows: np.ndarray, max_length: int) -> Blocks:
    """The prefixes numbered ``rows`` [N] as blocks of windows of similar length; only the last position is needed."""
    length = np.minimum(prefixes.take(rows).lengths, max_length)
    items = torch.from_numpy(prefixes.sequences.items)
    windows, ends, start = [], np.empty(len(rows), np.int64), 0
    for block in blocks_by_length(length, length):
        positions, real = (torch.from_numpy(a) for a in prefixes.windows(rows[block], int(length[block].max())))
        windows.append(items[positions] * real)
        ends[block] = start + np.arange(len(block)) * positions.size(1) + length[block] - 1
        start += positions.numel()
    return Blocks(windows, [window.size(1) for window in windows], torch.from_numpy(ends))


class SameTarget:
    """Draws for a training pair another training pair with the same target.

    Parameters
    ----------
    prefixes : the R training pairs, with ascending ``target_at``.
    """

    def __init__(self, prefixes: Prefixes) -> None:
        self.prefixes = prefixes
        targets = prefixes.targets
        self.order = np.argsort(targets, kind="stable")  # rows sorted by target
        place = np.empty(len(targets), np.int64)
        place[self.order] = np.arange(len(targets))
        ordered = targets[self.order]
        self.begin = np.searchsorted(ordered, targets)  # [R] where the rows with this target start in order
        self.size = np.searchsorted(ordered, targets, side="right") - self.begin
        self.own = place - self.begin  # [R] a row's number among the rows with its target

    def draw(self, target_at: np.ndarray) -> np.ndarray:
        """For each row, draw uniformly another row [N] with the same target, or the row itself if there is no other.

        ``target_at`` [N] identifies the rows by the position of their target. The draws use torch's generator.
        """
        rows = np.searchsorted(self.prefixes.target_at, target_at)
        size, own = self.size[rows], self.own[rows]
        drawn = (torch.rand(len(rows), dtype=torch.float64).numpy() * (size - 1)).astype(np.int64)
        drawn += drawn >= own
        return self.order[self.begin[rows] + np.where(size == 1, own, drawn)]


def info_nce(first: Tensor, second: Tensor, tau: float) -> Tensor:
    """Mean over the 2 N views of -log softmax(similarity)[the other view]: [N, D], [N, D] -> scalar.

    The similarity is the inner product divided by ``tau``. A view is compared with all 2 N - 1 other views.
    """
    views = torch.cat([first, second])
    similarity = (views @ views.T / tau).fill_diagonal_(-torch.inf)
    other = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(similarity, other)
