"""Causal self-attention within each window, computed by torch's fused kernel."""

from __future__ import annotations

import torch
from recbole.model.layers import MultiHeadAttention
from torch import Tensor

from recbole_raserec.backbones.protocol import Shapes
from recbole_raserec.nn.dropout import causal_attention


class CausalAttention(MultiHeadAttention):
    """RecBole's MultiHeadAttention with causal attention: a position attends to itself and the positions before it.

    The weights and the function are those of RecBole.
    """

    causal = True

    def forward(self, tokens: Tensor, asking: Tensor, shapes: Shapes, selected: Tensor | None = None) -> Tensor:
        """[T, D], [A, D] -> [A, D], or [N, D] for the selected positions."""
        context = self.context(tokens, asking, shapes)
        if selected is not None:
            context, asking = context[selected], asking[selected]
        return self.output(context, asking)

    def context(self, tokens: Tensor, asking: Tensor, shapes: Shapes) -> Tensor:
        """The attention's context of the positions whose output is needed: [T, D], [A, D] -> [A, D].

        Padding needs no mask. It is on the right, and real positions attend only to the left.
        """
        heads = self.num_attention_heads
        seen, asked = [rows * length for rows, length, _ in shapes], [rows * last for rows, _, last in shapes]
        columns = self.query(asking).split(asked), self.key(tokens).split(seen), self.value(tokens).split(seen)
        contexts = []
        for (rows, *_), *parts in zip(shapes, *columns):
            q, k, v = (part.view(rows, -1, heads, part.size(1) // heads).transpose(1, 2) for part in parts)
            context = causal_attention(q, k, v, self.attn_dropout)  # [B, heads, P, D / heads]
            contexts.append(context.transpose(1, 2).flatten(2).flatten(0, 1))  # [B P, D]
        return torch.cat(contexts)

    def output(self, context: Tensor, asking: Tensor) -> Tensor:
        """LayerNorm(x + dropout(Linear(context))): [N, D], [N, D] -> [N, D]."""
        return self.LayerNorm(self.out_dropout(self.dense(context)) + asking)
