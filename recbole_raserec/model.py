"""RaSeRec (arXiv 2412.18378) as a RecBole model: a backbone whose user vectors are augmented by memories."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_raserec.backbones import build_backbone
from recbole_raserec.backbones.scoring import scored_items, scoring_users
from recbole_raserec.data.prefix_feat import PREFIX_LENGTH
from recbole_raserec.errors import ConfigError
from recbole_raserec.nn.softmax import catalogue_cross_entropy, negatives_for
from recbole_raserec.retrieval.attention import RetrievalAugmentation
from recbole_raserec.retrieval.combination import FULL, Combination
from recbole_raserec.retrieval.explain import Reasons
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.mixture import Mixture, Votes, cosines
from recbole_raserec.retrieval.neighbours import Neighbours

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config


@dataclass(frozen=True)
class Scorer:
    """Scores of all items from user vectors and their memories. Everything that ranks items calls it.

    Attributes
    ----------
    augmentation : the cross attention. It reads the ``top_k`` nearest memories.
    item_vectors, item_bias : [V, D], and [V] or None. The bias has the backbone's bias and the popularity adjustment,
        so every way from vectors to scores has both.
    log_counts : [V] log(1 + training count) of each item.
    strength : of the augmentation, see :class:`~recbole_raserec.retrieval.combination.Combination`.
    voters : the mixture reads so many of the nearest memories; None means all that are given.
    absent : [A] numbers of the items that nobody gets, so they have no share of the mixture's softmax. None: padding.
    """

    augmentation: RetrievalAugmentation
    top_k: int
    mixture: Mixture
    item_vectors: Tensor
    item_bias: Tensor | None
    log_counts: Tensor
    strength: float = 1.0
    voters: int | None = None
    absent: Tensor | None = None

    @cached_property
    def items(self) -> Tensor:
        """Item vectors [V, D], or [V, D + 1] with the bias, for the product with augmented user vectors."""
        return scored_items(self.item_vectors, self.item_bias)

    def augment(self, h: Tensor, neighbours: Neighbours | None) -> Tensor:
        """User vectors h [B, D] of the backbone and their memories -> h + strength (h~ - h); without memories h."""
        if neighbours is None or neighbours.is_empty or self.strength == 0:
            return h
        near = neighbours.nearest(self.top_k)
        memories = near.vectors, F.embedding(near.items, self.item_vectors), near.real, near.weights
        augmented = self.augmentation(h, *memories)
        return augmented if self.strength == 1 else torch.lerp(h, augmented, self.strength)

    def users(self, h: Tensor, neighbours: Neighbours | None = None) -> Tensor:
        """Augmented user vectors for the product with :attr:`items`: [B, D] -> [B, D] or [B, D + 1]."""
        return scoring_users(self.augment(h, neighbours), self.item_bias)

    def __call__(self, h: Tensor, neighbours: Neighbours | None = None, out: Tensor | None = None) -> Tensor:
        """[V, B] scores. A CPU multiplies items by users faster than users by items.

        Parameters
        ----------
        h : [B, D] user vectors of the backbone.
        neighbours : their memories; with None the scores are the backbone's, less the adjustment.
        out : [V, B] buffer for the scores.
        """
        scores = self.products(h, neighbours, out)
        votes = self.votes(h, neighbours, scores) if self.mixture.weight else None
        return scores if votes is None else votes.mix(scores, self.mixture)

    def products(self, h: Tensor, neighbours: Neighbours | None = None, out: Tensor | None = None) -> Tensor:
        """[V, B] scores before the mixture."""
        return torch.mm(self.items, self.users(h, neighbours).T, out=out)

    def votes(self, h: Tensor, neighbours: Neighbours | None, scores: Tensor) -> Votes | None:
        """What the memories add to the scores [V, B] in a mixture; None where there are none."""
        if neighbours is None or neighbours.is_empty:
            return None
        near = neighbours.nearest(self.voters)
        if self.absent is not None:
            scores[self.absent] = -torch.inf
        return Votes(scores, near.items, cosines(h, near), self.log_counts, near.weights)

    def of_items(self, h: Tensor, neighbours: Neighbours | None, own: Tensor) -> Tensor:
        """[B] scores of one item for each user, ``own`` [B]."""
        if self.mixture.weight:  # of which every item's score is a part
            return self(h, neighbours).gather(0, own[None])[0]
        return (self.users(h, neighbours) * self.items[own]).sum(dim=1)

    @torch.no_grad()
    def reasons(self, h: Tensor, neighbours: Neighbours, item: int) -> Reasons:
        """Where the score of an item comes from, for one history: h [1, D] and its memories."""
        near = neighbours.nearest(self.top_k)
        score = float(self.users(h, neighbours)[0] @ self.items[item])
        if neighbours.is_empty:
            none = h.new_zeros(0)
            return Reasons.of(score, score, none, none, none, none)
        share = 1 - self.strength * (1 - float(self.augmentation.own(near.real, near.weights)))
        own = share * float(h[0] @ self.item_vectors[item])
        memories = near.vectors, self.item_vectors[near.items], near.real, near.weights
        shares, parts = self.augmentation.parts(h, *memories)
        added = self.strength * (parts[0] @ self.item_vectors[item])
        cosine, voting = cosines(h, neighbours)[0], neighbours.nearest(self.voters)
        trust = None if voting.weights is None else voting.weights[0]
        votes = self.mixture.votes(cosine[: self.voters], self.log_counts[voting.items[0]], trust)
        return Reasons.of(score, own, shares[0], added, cosine, votes)


class RaSeRec(SequentialRecommender):
    """A pre-trained, frozen backbone whose user vectors are augmented by retrieved memories.

    ``depth`` memories are retrieved. The attention reads the ``top_k`` nearest of them, and the mixture its own number.

    RecBole's own calls (``calculate_loss``, ``predict``, ``full_sort_predict``) pass no memories. They retrieve from
    the bank that :meth:`remember` sets. Before that call the model is only its backbone (stage two, recommendation
    learning); after it the model is RaSeRec (stage three). All other callers pass the memories, see :class:`Scorer`.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Config, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.top_k: int = config["top_k"]
        self.voters: int = config["mixture_top_k"]
        self.depth = max(self.top_k, self.voters) if any(config["mixture_weight"]) else self.top_k
        self.combination = FULL  # until the validation part chooses one
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
        # [V] log(1 + training count). Not in the checkpoints: the data set and the model file have the counts.
        self.log_counts: Tensor
        self.register_buffer("log_counts", torch.zeros(self.n_items), persistent=False)

    @property
    def item_vectors(self) -> Tensor:
        """[V, D] item vectors of the backbone."""
        return self.backbone.item_vectors

    @property
    def mixture(self) -> Mixture:
        """That of the model's combination."""
        return self.combination.mixture

    def count_items(self, counts: Tensor) -> None:
        """Set the training count [V] of each item, for the popularity adjustment."""
        self.log_counts.copy_(torch.log1p(counts.to(self.log_counts)))

    def scorer(self, combination: Combination | None = None) -> Scorer:
        """A scorer with the current weights, and with ``combination`` or else the model's own."""
        how, bias = combination or self.combination, self.backbone.item_bias
        if how.adjustment:
            bias = (0 if bias is None else bias) - how.adjustment * self.log_counts
        vectors = self.item_vectors, bias, self.log_counts
        return Scorer(self.augmentation, self.top_k, how.mixture, *vectors, how.strength, self.voters)

    def freeze_backbone(self) -> None:
        """Its weights get no gradient from now on."""
        self.backbone.requires_grad_(False)

    def remember(self, memory: MemoryBank) -> None:
        """Freeze the backbone, and let RecBole's own calls retrieve from ``memory`` from now on."""
        self.freeze_backbone()
        self.memory = memory

    def train(self, mode: bool = True) -> RaSeRec:
        """A frozen backbone stays in evaluation mode, so its dropout is off in stage three."""
        super().train(mode)
        if self.memory is not None:
            self.backbone.eval()
        return self

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """[B, L], [B], [B] -> user vectors of the backbone [B, D], without augmentation."""
        return self.backbone(item_seq, item_seq_len, users)

    def loss(self, h: Tensor, neighbours: Neighbours | None, targets: Tensor, each: Tensor | None = None) -> Tensor:
        """Mean over [B] of -log softmax(h~ . E^T)[target], times the weights ``each`` [B] if they are given."""
        scorer = self.scorer(FULL)
        users = scorer.users(h, neighbours)
        return catalogue_cross_entropy(users, scorer.items, targets, self.negatives, each) / len(targets)

    # -- RecBole's interface -------------------------------------------------------------------------

    def retrieve(self, interaction: Interaction) -> tuple[Tensor, Neighbours | None]:
        """User vectors of the backbone [B, D] and their memories, which are None before :meth:`remember`.

        The users and the true lengths of the histories decide which memories are leaks. The true length is
        ``prefix_length``, because RecBole cuts ``item_length`` to the maximum.
        """
        h = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], interaction[self.USER_ID])
        if self.memory is None:
            return h, None
        length_field = PREFIX_LENGTH if PREFIX_LENGTH in interaction else self.ITEM_SEQ_LEN
        users, lengths = (interaction[field].cpu().numpy() for field in (self.USER_ID, length_field))
        found = self.memory.search(h.detach().cpu().numpy(), users, lengths, self.depth)
        return h, self.memory.neighbours(torch.from_numpy(found).to(h.device))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean cross entropy. Before there is a memory, it is the backbone's own loss."""
        if self.memory is None:
            return self.backbone.calculate_loss(interaction)
        return self.loss(*self.retrieve(interaction), interaction[self.POS_ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """[B, V] scores of all items."""
        return self.scorer()(*self.retrieve(interaction)).T

    def predict(self, interaction: Interaction) -> Tensor:
        """[B] scores of the interaction's own items."""
        return self.scorer().of_items(*self.retrieve(interaction), interaction[self.ITEM_ID])
