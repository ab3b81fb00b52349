"""DR4SR+: the backbone's trainer, with weights of generated pairs that a personalizer learns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from recbole_raserec.backbones.protocol import PackedPairs
from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.model import RaSeRec
from recbole_raserec.regeneration.personalizer import Personalizer, implicit_gradient
from recbole_raserec.training.backbone import BackboneTrainer, packed_loader


class PersonalizedTrainer(BackboneTrainer):
    """DR4SR+: a personalizer gives the weights of generated pairs, and learns from original pairs.

    After ``personalize_warmup_epochs`` epochs, the personalizer takes one SGD step every ``personalize_every``
    steps. The step reduces the cross entropy of original pairs, differentiated through the backbone's training on
    weighted cross entropies. DuoRec's contrastive term has no weights and no part in this step.
    """

    def __init__(self, config: Config, model: RaSeRec, dataset: SequenceDataset) -> None:
        super().__init__(config, model, dataset)
        self.personalizer = Personalizer(model.item_vectors.size(1)).to(self.device)
        self.outer_optimizer = torch.optim.SGD(
            self.personalizer.parameters(), lr=config["personalize_learning_rate"], momentum=0.9, weight_decay=1e-3
        )
        self.originals = packed_loader(config, model, dataset.sequences.without_generated())
        self.steps, self.warm = 0, False

    def batches(self, epoch: int) -> Iterable[list[Interaction]]:
        self.warm = epoch >= self.config["personalize_warmup_epochs"]
        self.originals.set_epoch(epoch)
        self._outer_batches = iter(self.originals)
        batches = super().batches(epoch)
        self.steps = epoch * len(self.loader)  # of the whole training, also after it was resumed
        return batches

    def loss(self, batch: list[Interaction]) -> Tensor:
        return self.model.packed_loss(batch, self.loader.budget, lambda pairs: self._weights(pairs).detach())

    def _step(self, batch: list[Interaction]) -> Tensor:
        loss = super()._step(batch)
        self.steps += 1
        if self.warm and self.steps % self.config["personalize_every"] == 0:
            self._learn_weights(batch)
        return loss

    def _weights(self, pairs: PackedPairs) -> Tensor:
        """[N] weight of each pair: the weight of its part; for a generated pair, times the personalizer's weight."""
        assert pairs.weights is not None and pairs.generated is not None
        learned = self.personalizer(pairs.hidden.detach())
        return torch.where(pairs.generated, learned, 1.0) * pairs.weights

    def _learn_weights(self, batch: list[Interaction]) -> None:
        """One step of the outer problem, on one batch of original pairs."""
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels cannot be differentiated twice
            self._step_of_weights(batch)

    def _step_of_weights(self, batch: list[Interaction]) -> None:
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
        """[N] cross entropies by torch, because they can be differentiated twice."""
        return F.cross_entropy(pairs.hidden @ self.model.item_vectors.T, pairs.targets, reduction="none")

    def _state(self, epoch: int) -> dict[str, Any]:
        learned = {"weights": self.personalizer.state_dict(), "optimizer": self.outer_optimizer.state_dict()}
        return {**super()._state(epoch), "personalizer": learned}

    def _restore(self, last: dict[str, Any]) -> None:
        super()._restore(last)
        self.personalizer.load_state_dict(last["personalizer"]["weights"])
        self.outer_optimizer.load_state_dict(last["personalizer"]["optimizer"])
