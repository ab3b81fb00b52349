"""RecBole's SASRec, trained on whole windows and attending through torch's fused kernel.

Same parameters (a RecBole state_dict loads), same function, same loss over the same pairs; only the
order of the arithmetic differs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import recbole.model.sequential_recommender as recbole_models
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.layers import TransformerLayer
from torch import Tensor, nn

from recbole_raserec.backbones.average import MovingAverage
from recbole_raserec.data.batches import GENERATED, TARGET_SEQ, WEIGHT
from recbole_raserec.errors import ConfigError
from recbole_raserec.nn.dropout import causal_attention, use_fast_dropout
from recbole_raserec.nn.softmax import catalogue_cross_entropy, negatives_for


class PackedPairs(NamedTuple):
    """N pairs of a packed batch; weights and flags only of a regenerated data set."""

    hidden: Tensor  # [N, D] user vector of each prefix
    targets: Tensor  # [N]
    weights: Tensor | None = None  # [N]
    generated: Tensor | None = None  # [N] bool


class Blocks(NamedTuple):
    """Blocks of windows [B, L], their last positions asked for, and which of all those [A] are wanted [N]."""

    windows: list[Tensor]
    lasts: list[int]
    counts: Tensor


def wanted(batch: list[Interaction], item_seq_field: str) -> Blocks:
    """What a packed batch asks of a backbone."""
    targets = torch.cat([block[TARGET_SEQ].flatten() for block in batch])  # [A], 0 where there is no pair
    lasts = [block[TARGET_SEQ].size(1) for block in batch]
    return Blocks([block[item_seq_field] for block in batch], lasts, targets.nonzero()[:, 0])


class SASRec(recbole_models.SASRec):
    """Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, in RecBole's form.

    With ``average_weight`` w above 0 each layer reads w :class:`MovingAverage` + (1 - w) attention.

    With ``score_tau`` above 0 scores are cosines divided by it: user vectors have length 1 / ``score_tau``, item
    vectors length one.

    Raises
    ------
    ConfigError : cosine scores, and so many items that the softmax is sampled.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.negatives = negatives_for(config["softmax_negatives"], self.n_items)
        self.score_tau: float = config["score_tau"]
        if self.score_tau and self.negatives:
            problem = "a cosine needs every item vector, and here the softmax samples them"
            raise ConfigError("score_tau", self.score_tau, problem, "give --score_tau=0, or --softmax_negatives=0")
        self.item_embedding.sparse = self.negatives > 0  # a step touches few rows of a large catalogue
        self.average_weight: float = config["average_weight"]
        sizes = (
            config["hidden_size"],
            config["average_window"],
            config["hidden_dropout_prob"],
            config["layer_norm_eps"],
        )
        self.averages = nn.ModuleList(MovingAverage(*sizes) for _ in self.trm_encoder.layer if self.average_weight)
        use_fast_dropout(self)
        if config["hidden_act"] == "gelu":  # RecBole writes the same function out in five operations
            for layer in self.trm_encoder.layer:
                layer.feed_forward.intermediate_act_fn = F.gelu

    def encode_window(self, item_seq: Tensor, last: int | None = None) -> Tensor:
        """User vector after each item, or after each of the last ``last`` = P ones.

        Parameters
        ----------
        item_seq : [B, L] item ids, oldest first, 0 on the right; L may be less than the maximum.

        Returns
        -------
        [B, P, D], P = L by default; entries at padding mean nothing.
        """
        asked = last or item_seq.size(1)
        return self._encode([item_seq], [asked]).view(len(item_seq), asked, -1)

    def _encode(self, windows: list[Tensor], lasts: list[int], counts: Tensor | None = None) -> Tensor:
        """Blocks of windows [B, L] at once, each asked for its last P positions: their vectors end to end [A, D].

        All but attention and averages works token by token, so the blocks go through it together. ``counts`` [n]
        names the rows of the A that are wanted, if not all are.
        """
        shapes = [(*window.shape, last) for window, last in zip(windows, lasts)]
        device = self.item_embedding.weight.device
        positions = torch.cat([torch.arange(length, device=device).repeat(rows) for rows, length, _ in shapes])
        tokens = torch.cat([window.flatten() for window in windows]).to(device)  # [T], T = sum B L
        hidden = self.dropout(self.LayerNorm(self.item_embedding(tokens) + self.position_embedding(positions)))
        averages = list(self.averages) or [None] * len(self.trm_encoder.layer)
        *lower, (top, average) = zip(self.trm_encoder.layer, averages)
        whole = [(rows, length, length) for rows, length, _ in shapes]
        for layer, each in lower:
            context = _causal_context(layer, hidden, hidden, whole)
            hidden = self._after_attention(layer, context, hidden, each and each(hidden, hidden, whole))
        asking = hidden
        if any(length != last for _, length, last in shapes):  # A < T: the top layer need not do the others
            parts = hidden.split([rows * length for rows, length, _ in shapes])
            asking = torch.cat(
                [
                    part.view(rows, length, -1)[:, -last:].flatten(0, 1)
                    for part, (rows, length, last) in zip(parts, shapes)
                ]
            )
        context = _causal_context(top, hidden, asking, shapes)
        averaged = average and average(hidden, asking, shapes)
        if counts is not None:
            counts = counts.to(device)
            context, asking = context[counts], asking[counts]
            averaged = averaged if averaged is None else averaged[counts]
        hidden = self._after_attention(top, context, asking, averaged)
        return F.normalize(hidden, dim=-1) / self.score_tau if self.score_tau else hidden

    def _after_attention(
        self, layer: TransformerLayer, context: Tensor, asking: Tensor, averaged: Tensor | None
    ) -> Tensor:
        """The rest of RecBole's TransformerLayer, token by token: [A, D] each -> [A, D]; ``averaged`` has its share."""
        attention = layer.multi_head_attention
        read = attention.LayerNorm(attention.out_dropout(attention.dense(context)) + asking)
        if averaged is not None:
            read = self.average_weight * averaged + (1 - self.average_weight) * read
        return layer.feed_forward(read)

    item_bias = None

    @property
    def item_vectors(self) -> Tensor:
        """[V, D]"""
        items = self.item_embedding.weight
        return F.normalize(items, dim=-1) if self.score_tau else items

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """[B, L] histories and their lengths [B] -> user vectors [B, D]; whose they are does not matter."""
        shortest, longest = int(item_seq_len.min()), int(item_seq_len.max())
        item_seq = item_seq[:, :longest]
        if shortest == longest:  # all end at the same position: the top layer need not do the others
            return self.encode_window(item_seq, last=1)[:, 0]
        return self.gather_indexes(self.encode_window(item_seq), item_seq_len - 1)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean cross entropy over all items, of samples [B]; RecBole's where scores are inner products."""
        return F.cross_entropy(self.full_sort_predict(interaction), interaction[self.POS_ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """[B, V] scores of all items."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]) @ self.item_vectors.T

    def predict(self, interaction: Interaction) -> Tensor:
        """[B] scores of the interaction's own items."""
        vectors = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return (vectors * self.item_vectors[interaction[self.ITEM_ID]]).sum(dim=1)

    def packed_pairs(self, batch: list[Interaction]) -> PackedPairs:
        """The (prefix, target) pairs that carry a loss in the blocks of a packed batch.

        The batch stays where the loader made it, on the CPU: which pairs there are is found there, so
        that a GPU need not be waited for.
        """
        blocks = wanted(batch, self.ITEM_SEQ)
        return self._pairs(batch, blocks, self._encode(*blocks))

    def _pairs(self, batch: list[Interaction], blocks: Blocks, hidden: Tensor) -> PackedPairs:
        """``hidden`` [N, D] with what the batch says of each pair."""

        def column(name: str) -> Tensor:
            return torch.cat([block[name].flatten() for block in batch])[blocks.counts].to(hidden.device)

        extra = [column(name) for name in (WEIGHT, GENERATED) if name in batch[0]]
        return PackedPairs(hidden, column(TARGET_SEQ), *extra)

    def packed_loss(self, batch: list[Interaction], budget: int) -> Tensor:
        """Cross entropy of every pair in the blocks of a packed batch, weighted, summed, divided by ``budget``."""
        pairs = self.packed_pairs(batch)
        items = self.item_vectors
        return catalogue_cross_entropy(pairs.hidden, items, pairs.targets, self.negatives, pairs.weights) / budget


def _causal_context(
    layer: TransformerLayer, hidden: Tensor, asking: Tensor, shapes: list[tuple[int, int, int]]
) -> Tensor:
    """Causal attention within each window: tokens [T, D], those that ask [A, D] -> what they read [A, D].

    Padding needs no mask: it is on the right, where no real position looks. ``shapes`` are (B, L, P) of
    each block.
    """
    attention = layer.multi_head_attention
    heads = attention.num_attention_heads
    seen, asked = [rows * length for rows, length, _ in shapes], [rows * last for rows, _, last in shapes]
    columns = (
        attention.query(asking).split(asked),
        attention.key(hidden).split(seen),
        attention.value(hidden).split(seen),
    )
    contexts = []
    for (rows, *_), *parts in zip(shapes, *columns):
        q, k, v = (part.view(rows, -1, heads, part.size(1) // heads).transpose(1, 2) for part in parts)
        context = causal_attention(q, k, v, attention.attn_dropout)  # [B, heads, P, D / heads]
        contexts.append(context.transpose(1, 2).flatten(2).flatten(0, 1))  # [B P, D]
    return torch.cat(contexts)
