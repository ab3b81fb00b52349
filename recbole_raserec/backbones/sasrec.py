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
from torch import Tensor

from recbole_raserec.backbones.dropout import causal_attention, use_fast_dropout
from recbole_raserec.data.batches import GENERATED, TARGET_AT, TARGET_SEQ, WEIGHT
from recbole_raserec.losses import catalogue_cross_entropy, negatives_for


class PackedPairs(NamedTuple):
    """N pairs of a packed batch; weights and flags only of a regenerated data set."""

    hidden: Tensor  # [N, D] user vector of each prefix
    targets: Tensor  # [N]
    target_at: Tensor  # [N] where the target stands in the sequences; on the CPU
    weights: Tensor | None = None  # [N]
    generated: Tensor | None = None  # [N] bool


class SASRec(recbole_models.SASRec):
    """Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, in RecBole's form."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.negatives = negatives_for(config["softmax_negatives"], self.n_items)
        self.item_embedding.sparse = self.negatives > 0  # a step touches few rows of a large catalogue
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
        positions = torch.arange(item_seq.size(1), device=item_seq.device)
        hidden = self.item_embedding(item_seq) + self.position_embedding(positions)
        hidden = self.dropout(self.LayerNorm(hidden))  # [B, L, D]
        *lower, top = self.trm_encoder.layer
        for layer in lower:
            hidden = _causal_layer(layer, hidden, item_seq.size(1))
        return _causal_layer(top, hidden, last or item_seq.size(1))

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """[B, L] histories and their lengths [B] -> user vectors [B, D]."""
        shortest, longest = int(item_seq_len.min()), int(item_seq_len.max())
        item_seq = item_seq[:, :longest]
        if shortest == longest:  # all end at the same position: the top layer need not do the others
            return self.encode_window(item_seq, last=1)[:, 0]
        return self.gather_indexes(self.encode_window(item_seq), item_seq_len - 1)

    def packed_pairs(self, batch: list[Interaction]) -> PackedPairs:
        """The (prefix, target) pairs that carry a loss in the blocks of a packed batch.

        The batch stays where the loader made it, on the CPU: which pairs there are is found there, so
        that a GPU need not be waited for.
        """
        columns: dict[str, list[Tensor]] = {name: [] for name in ("hidden", TARGET_SEQ, TARGET_AT, WEIGHT, GENERATED)}
        device = self.item_embedding.weight.device
        for block in batch:
            target_seq = block[TARGET_SEQ]  # [B, P]
            counts = target_seq.flatten().nonzero()[:, 0]  # [n] of B P
            hidden = self.encode_window(block[self.ITEM_SEQ].to(device), target_seq.size(1))
            columns["hidden"].append(hidden.flatten(0, 1)[counts.to(device)])
            for name in list(columns)[1:]:
                if name in block:
                    columns[name].append(block[name].flatten()[counts])
        joined = {name: torch.cat(parts) for name, parts in columns.items() if parts}
        here = {name: column if name == TARGET_AT else column.to(device) for name, column in joined.items()}
        return PackedPairs(*(here.get(name) for name in columns))

    def packed_loss(self, batch: list[Interaction], budget: int) -> Tensor:
        """Cross entropy of every pair in the blocks of a packed batch, weighted, summed, divided by ``budget``."""
        pairs = self.packed_pairs(batch)
        items = self.item_embedding.weight
        return catalogue_cross_entropy(pairs.hidden, items, pairs.targets, self.negatives, pairs.weights) / budget


def _causal_layer(layer: TransformerLayer, hidden: Tensor, last: int) -> Tensor:
    """RecBole's TransformerLayer under a causal mask: [B, L, D] -> its output at the last P positions [B, P, D].

    Padding needs no mask: it is on the right, where no real position looks.
    """
    attention = layer.multi_head_attention
    heads = attention.num_attention_heads
    asking = hidden[:, -last:]
    q, k, v = (
        project(x).unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, heads, P or L, D / heads]
        for project, x in ((attention.query, asking), (attention.key, hidden), (attention.value, hidden))
    )
    context = causal_attention(q, k, v, attention.attn_dropout)
    context = context.transpose(1, 2).flatten(2)  # [B, P, D]
    mixed = attention.out_dropout(attention.dense(context))
    return layer.feed_forward(attention.LayerNorm(mixed + asking))
