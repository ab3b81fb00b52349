"""Stage two: training a backbone on packed windows, and DR4SR+'s learned weights of generated pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.backbones.duorec import DuoRec
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.backbones.scoring import scored_items, scoring_users
from recbole_raserec.data.batches import PackedLoader
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.data.sequences import Prefixes, Sequences
from recbole_raserec.errors import ConfigError
from recbole_raserec.evaluation.ranking import Ranks, rank_targets
from recbole_raserec.model import RaSeRec
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.progress import bar
from recbole_raserec.training.stage import StageTrainer

_LOT = 16  # batches whose prefixes are drawn together


class BackboneTrainer(StageTrainer):
    """Stage two: the backbone on packed windows."""

    def __init__(self, config: Any, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model.backbone, "pretrain", dataset.sha256, source=dataset.source)
        self.loader = packed_loader(config, model, dataset.sequences)
        if isinstance(self.model, DuoRec):
            self.model.use_training(dataset.sequences.trained_part())

    def batches(self, epoch: int) -> Iterable[list[Interaction]]:
        self.loader.set_epoch(epoch)
        return self.loader

    def loss(self, batch: list[Interaction]) -> Tensor:
        return self.model.packed_loss(batch, self.loader.budget) if batch else self.nothing()

    def rank(self, part: Prefixes, show_progress: bool) -> Ranks:
        return rank_backbone(self.model, part, self.config, show_progress)


def rank_backbone(backbone: Any, part: Prefixes, config: Any, show_progress: bool) -> Ranks:
    """Ranks of a part's targets by the backbone alone."""
    device = config["device"]
    vectors = encode_prefixes(backbone, part, backbone.max_seq_length, device)
    bias = backbone.item_bias
    return rank_targets(
        lambda rows: scoring_users(torch.from_numpy(vectors[rows]).to(device), bias),
        scored_items(backbone.item_vectors, bias),
        part,
        config["eval_batch_size"],
        bar("evaluate", show_progress),
    )


class PrefixTrainer(StageTrainer):
    """Stage two for a stock RecBole model: its own loss on one sample a prefix.

    Prefixes are drawn in random lots; where the model allows it those of a lot stand by length and a batch is
    cut to its longest history.
    """

    def __init__(self, config: Any, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model.backbone, "pretrain", dataset.sha256, source=dataset.source)
        prefixes = dataset.sequences.trained_part()
        self.dataset, self.part = dataset, dataset.feat_of(prefixes)
        self.lengths = np.minimum(prefixes.lengths, self.model.max_seq_length)
        self.item_seq_field = model.ITEM_SEQ

    def batches(self, epoch: int) -> Iterable[np.ndarray]:
        rng = np.random.default_rng((self.config["seed"], epoch))
        size, order = self.config["train_batch_size"], rng.permutation(len(self.lengths))
        if self.model.trims:
            order = order[np.lexsort((self.lengths[order], np.arange(len(order)) // (_LOT * size)))]
        batches = np.split(order, range(size, len(order), size))
        return [batches[number] for number in rng.permutation(len(batches))]

    def loss(self, batch: np.ndarray) -> Tensor:
        mine = batch[processes.rank() :: processes.size()]
        if len(mine) == 0:
            return self.nothing()
        interaction = self.model.transform(self.dataset, self.part[mine])
        if self.model.trims:
            interaction[self.item_seq_field] = interaction[self.item_seq_field][:, : int(self.lengths[mine].max())]
        return self.model.calculate_loss(interaction.to(self.device)) * (len(mine) / len(batch))

    def rank(self, part: Prefixes, show_progress: bool) -> Ranks:
        return rank_backbone(self.model, part, self.config, show_progress)


def packed_loader(config: Any, model: RaSeRec, sequences: Sequences) -> PackedLoader:
    return PackedLoader(
        sequences,
        item_seq_field=model.ITEM_SEQ,
        max_length=model.max_seq_length,
        budget=config["train_batch_size"],
        seed=config["seed"],
        stride=config["window_stride"],
        part=(processes.rank(), processes.size()),
    )


def backbone_trainer(
    config: Any, model: RaSeRec, dataset: SequenceDataset, packed: type[BackboneTrainer] = BackboneTrainer
) -> StageTrainer:
    """The trainer of the configured backbone on this data set; ``packed`` is that of whole windows.

    Raises
    ------
    ConfigError : pairs are to be weighted, and the backbone's own loss knows no weights.
    """
    if hasattr(model.backbone, "packed_loss"):
        return packed(config, model, dataset)
    if config["regenerate"] == "DR4SR+":
        mend = "use DR4SR, or SASRec or DuoRec as the backbone"
        raise ConfigError("regenerate", "DR4SR+", f"{config['backbone']}'s own loss knows no weights", mend)
    for name in ("pattern_weight", "decode_weight"):
        if config["regenerate"] is not None and config[name] != 1:
            problem = f"{config['backbone']}'s own loss knows no weights"
            raise ConfigError(name, config[name], problem, "leave it out, or leave the part out of regenerate_parts")
    return PrefixTrainer(config, model, dataset)
