"""Stage two: training a backbone on packed windows, and DR4SR+'s learned weights of generated pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_raserec.backbones.duorec import DuoRec
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.backbones.sasrec import PackedPairs
from recbole_raserec.backbones.scoring import scored_items, scoring_users
from recbole_raserec.data.batches import PackedLoader
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.data.sequences import Prefixes, Sequences
from recbole_raserec.errors import ConfigError
from recbole_raserec.evaluation.ranking import Ranks, rank_targets
from recbole_raserec.model import RaSeRec
from recbole_raserec.nn.softmax import catalogue_cross_entropy
from recbole_raserec.regeneration.personalizer import Personalizer, implicit_gradient
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.progress import bar
from recbole_raserec.training.stage import StageTrainer

_LOT = 16  # batches whose prefixes are drawn together


class BackboneTrainer(StageTrainer):
    """Stage two: the backbone on packed windows."""

    def __init__(self, config: Any, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model.backbone, "pretrain", dataset.sha256, source=dataset.source)
        self.loader = _loader(config, model, dataset.sequences)
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


def _loader(config: Any, model: RaSeRec, sequences: Sequences) -> PackedLoader:
    return PackedLoader(
        sequences,
        item_seq_field=model.ITEM_SEQ,
        max_length=model.max_seq_length,
        budget=config["train_batch_size"],
        seed=config["seed"],
        stride=config["window_stride"],
        part=(processes.rank(), processes.size()),
    )


def backbone_trainer(config: Any, model: RaSeRec, dataset: SequenceDataset) -> StageTrainer:
    """The trainer of the configured backbone on this data set.

    Raises
    ------
    ConfigError : pairs are to be weighted, and the backbone's own loss knows no weights.
    """
    if hasattr(model.backbone, "packed_loss"):
        kind = PersonalizedTrainer if config["regenerate"] == "DR4SR+" else BackboneTrainer
        return kind(config, model, dataset)
    if config["regenerate"] == "DR4SR+":
        mend = "use DR4SR, or SASRec or DuoRec as the backbone"
        raise ConfigError("regenerate", "DR4SR+", f"{config['backbone']}'s own loss knows no weights", mend)
    for name in ("pattern_weight", "decode_weight"):
        if config["regenerate"] is not None and config[name] != 1:
            problem = f"{config['backbone']}'s own loss knows no weights"
            raise ConfigError(name, config[name], problem, "leave it out, or leave the part out of regenerate_parts")
    return PrefixTrainer(config, model, dataset)


class PersonalizedTrainer(BackboneTrainer):
    """DR4SR+: generated pairs weigh what a personalizer says, which learns from the original ones.

    After ``personalize_warmup_epochs``, every ``personalize_every`` steps, the personalizer takes one SGD
    step on the backbone's loss over original pairs, differentiated through the backbone's training.
    """

    def __init__(self, config: Any, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model, dataset)
        self.personalizer = Personalizer(model.item_vectors.size(1)).to(self.device)
        self.outer_optimizer = torch.optim.SGD(
            self.personalizer.parameters(), lr=config["personalize_learning_rate"], momentum=0.9, weight_decay=1e-3
        )
        self.originals = _loader(config, model, dataset.sequences.without_generated())
        self.steps, self.warm = 0, False

    def batches(self, epoch: int) -> Iterable[list[Interaction]]:
        self.warm = epoch >= self.config["personalize_warmup_epochs"]
        self.originals.set_epoch(epoch)
        self._outer_batches = iter(self.originals)
        self.steps = 0
        return super().batches(epoch)

    def loss(self, batch: list[Interaction]) -> Tensor:
        pairs = self.model.packed_pairs(batch)
        each = self._weights(pairs).detach()
        items, negatives = self.model.item_vectors, self.model.negatives
        return catalogue_cross_entropy(pairs.hidden, items, pairs.targets, negatives, each) / self.loader.budget

    def _step(self, batch: list[Interaction]) -> Tensor:
        loss = super()._step(batch)
        self.steps += 1
        if self.warm and self.steps % self.config["personalize_every"] == 0:
            self._learn_weights(batch)
        return loss

    def _weights(self, pairs: PackedPairs) -> Tensor:
        """[N] of each pair: the part's own weight, times the personalizer's where it was generated."""
        assert pairs.weights is not None and pairs.generated is not None
        learned = self.personalizer(pairs.hidden.detach())
        return torch.where(pairs.generated, learned, 1.0) * pairs.weights

    def _learn_weights(self, batch: list[Interaction]) -> None:
        """One step of the outer problem, on one batch of original pairs."""
        inner_pairs = self.model.packed_pairs(batch)
        inner = (self._weights(inner_pairs) * self._each_loss(inner_pairs)).sum() / self.loader.budget
        outer_pairs = self.model.packed_pairs(self._next_outer_batch())
        outer = self._each_loss(outer_pairs).sum() / self.originals.budget
        weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        hyper = list(self.personalizer.parameters())
        terms = self.config["personalize_terms"]
        for parameter, gradient in zip(
            hyper, implicit_gradient(outer, inner, weights, hyper, self.learning_rate, terms)
        ):
            parameter.grad = gradient
        self.outer_optimizer.step()

    def _next_outer_batch(self) -> list[Interaction]:
        batch = next(self._outer_batches, None)
        if batch is None:
            self._outer_batches = iter(self.originals)
            batch = next(self._outer_batches)
        return batch

    def _each_loss(self, pairs: PackedPairs) -> Tensor:
        """[N] cross entropies by torch, which are twice differentiable."""
        return F.cross_entropy(pairs.hidden @ self.model.item_vectors.T, pairs.targets, reduction="none")

    def _state(self, epoch: int) -> dict[str, Any]:
        learned = {"weights": self.personalizer.state_dict(), "optimizer": self.outer_optimizer.state_dict()}
        return {**super()._state(epoch), "personalizer": learned}

    def _restore(self, last: dict[str, Any]) -> None:
        super()._restore(last)
        self.personalizer.load_state_dict(last["personalizer"]["weights"])
        self.outer_optimizer.load_state_dict(last["personalizer"]["optimizer"])
