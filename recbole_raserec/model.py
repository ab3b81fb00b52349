"""RaSeRec (arXiv 2412.18378) as a RecBole model: backbone + memory bank + augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_raserec.backbones import build_backbone
from recbole_raserec.backbones.scoring import scored_items, scoring_users
from recbole_raserec.data.dataset import PREFIX_LENGTH
from recbole_raserec.errors import ConfigError
from recbole_raserec.nn.softmax import catalogue_cross_entropy, negatives_for
from recbole_raserec.retrieval.attention import RetrievalAugmentation
from recbole_raserec.retrieval.memory import NO_MEMORY, MemoryBank
from recbole_raserec.retrieval.mixture import Heard, Mixture, cosines


@dataclass(frozen=True)
class MemoryTensors:
    """What augmentation reads of a memory bank, on the model's device."""

    keys: Tensor  # [N, D]
    targets: Tensor  # [N]


class RaSeRec(SequentialRecommender):
    """A pre-trained, frozen backbone whose user vectors are augmented by retrieved memories.

    Of the ``depth`` memories that are retrieved the attention reads the ``top_k`` nearest, and ``mixture`` all.

    Without a memory (``use_memory`` not yet called) it is its backbone, in loss and in scores: this
    is stage two, recommendation learning. With one it is stage three.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.top_k: int = config["top_k"]
        self.depth = max(self.top_k, config["mixture_top_k"]) if any(config["mixture_weight"]) else self.top_k
        self.mixture = Mixture(0.0, 1.0)  # off until one is chosen on the validation part
        self.negatives = negatives_for(config["softmax_negatives"], self.n_items)
        self.backbone = build_backbone(config, dataset)
        width = self.item_vectors.shape[1]
        if width % config["cross_heads"]:
            problem = f"must divide the width {width} of {config['backbone']}'s item vectors"
            raise ConfigError("cross_heads", config["cross_heads"], problem, "give --cross_heads=1 or another width")
        self.augmentation = RetrievalAugmentation(
            hidden_size=width,
            heads=config["cross_heads"],
            inner_size=config["cross_inner_size"],
            dropout=config["cross_dropout_prob"],
            tau=config["attn_tau"],
            alpha=config["alpha"],
            beta=config["beta"],
            initializer_range=config["cross_initializer_range"],
            layer_norm_eps=config["cross_layer_norm_eps"],
        )
        self.memory: MemoryBank | None = None
        self._tensors: MemoryTensors | None = None

    @property
    def item_vectors(self) -> Tensor:
        """[V, D] embeddings that score items by inner product."""
        return self.backbone.item_vectors

    def scoring(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """User vectors [B, D] and item vectors whose inner products are the scores, a bias included."""
        bias = self.backbone.item_bias
        return scoring_users(vectors, bias), scored_items(self.item_vectors, bias)

    def use_memory(self, memory: MemoryBank | None) -> None:
        """Retrieve from ``memory`` from now on, or from none; freezes the backbone accordingly."""
        self.memory = memory
        self._tensors = None
        if memory is not None:
            keys, targets = (torch.from_numpy(a).to(self.device) for a in (memory.keys, memory.targets))
            self._tensors = MemoryTensors(keys, targets.long())
        self.backbone.requires_grad_(memory is None)

    def train(self, mode: bool = True) -> RaSeRec:
        """The frozen backbone stays in evaluation mode: its dropout is off in stage three."""
        super().train(mode)
        if self.memory is not None:
            self.backbone.eval()
        return self

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """[B, L], [B], [B] -> user vectors of the backbone [B, D], not augmented."""
        return self.backbone(item_seq, item_seq_len, users)

    def augment(self, h: Tensor, neighbours: Tensor) -> Tensor:
        """User vectors [B, D] and memory indices [B, K] (``NO_MEMORY`` = none) -> h~ [B, D]."""
        if self._tensors is None or len(self._tensors.targets) == 0:
            return h
        neighbours = neighbours[:, : self.top_k]
        real = neighbours != NO_MEMORY
        at = neighbours.clamp(min=0).long()
        target_vectors = self.item_vectors[self._tensors.targets[at]]  # [B, K, D]
        return self.augmentation(h, self._tensors.keys[at], target_vectors, real)

    def mixed(
        self, scores: Tensor, h: Tensor, neighbours: Tensor, mixtures: Sequence[Mixture] | None = None
    ) -> Iterator[Tensor]:
        """The scores [V, B], changed in place, with what the memories [B, K] of user vectors [B, D] say.

        Under each of ``mixtures`` in turn, by default the model's own.
        """
        mixtures = [self.mixture] if mixtures is None else mixtures
        if not any(mixture.weight for mixture in mixtures) or self._tensors is None or len(self._tensors.targets) == 0:
            yield from repeat(scores, len(mixtures))
            return
        scores[0] = -torch.inf  # padding is no item, and takes no share of the softmax
        at = neighbours.clamp(min=0).long()
        heard = Heard(scores, self._tensors.targets[at], cosines(h, self._tensors.keys[at], neighbours != NO_MEMORY))
        for mixture in mixtures:
            heard.mix(mixture)
            yield scores

    def retrieve(self, interaction: Interaction) -> tuple[Tensor, Tensor | None]:
        """User vectors of the backbone [B, D] and their memories [B, K], None before there is a memory.

        Whose the histories are and how long they really are (``prefix_length``, since RecBole cuts
        ``item_length`` to the maximum) decides which memories would leak.
        """
        h = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], interaction[self.USER_ID])
        if self.memory is None:
            return h, None
        length_field = PREFIX_LENGTH if PREFIX_LENGTH in interaction else self.ITEM_SEQ_LEN
        found = self.memory.search(
            h.detach().cpu().numpy(), _array(interaction[self.USER_ID]), _array(interaction[length_field]), self.depth
        )
        return h, torch.from_numpy(found).to(h.device)

    def user_vectors(self, interaction: Interaction) -> Tensor:
        """[B, D], augmented once there is a memory."""
        h, found = self.retrieve(interaction)
        return h if found is None else self.augment(h, found)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean cross entropy; the backbone's own loss before there is a memory."""
        if self.memory is None:
            return self.backbone.calculate_loss(interaction)
        vectors = self.user_vectors(interaction)
        return self.finetune_loss(vectors, interaction[self.POS_ITEM_ID])

    def finetune_loss(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """Mean of -log softmax(h~ . E^T)[target] over [B, D] and [B], with E frozen."""
        return catalogue_cross_entropy(*self.scoring(vectors), targets, self.negatives) / len(targets)

    def predict(self, interaction: Interaction) -> Tensor:
        """[B] scores of the interaction's own items."""
        own = interaction[self.ITEM_ID]
        if self.mixture.weight:  # of which every item's score is a part
            return self.full_sort_predict(interaction).gather(1, own[:, None])[:, 0]
        vectors, items = self.scoring(self.user_vectors(interaction))
        return (vectors * items[own]).sum(dim=1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """[B, V] scores of all items."""
        h, found = self.retrieve(interaction)
        vectors, items = self.scoring(h if found is None else self.augment(h, found))
        scores = items @ vectors.T
        if found is not None:
            scores = next(self.mixed(scores, h, found))
        return scores.T


def _array(column: Tensor) -> np.ndarray:
    return column.cpu().numpy()
