"""HSTU's layer: pointwise attention without softmax, gated, with a bias for each distance of two positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_raserec.backbones.protocol import Shapes


class PointwiseAttention(nn.Module):
    """x + Linear(dropout(LayerNorm(A V) * U)), A = silu(Q K^T + bias of the distance) / ``longest``, causal.

    U, V, Q, K = split(silu(Linear(LayerNorm(x)))). Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter
    Sequential Transducers for Generative Recommendations", ICML 2024 (HSTU), equations 1 to 3. A sum that no softmax
    normalises keeps how often something was in the history. The norms have no weights, as in the authors' code. The
    bias reads positions only: a window has no timestamps.

    Parameters
    ----------
    heads : they divide ``hidden_size``.
    longest : most positions of a window. The authors divide by it, so a window's padding changes nothing.
    dropout, attention_dropout : of the gated sums, and of A.
    """

    causal = True

    def __init__(
        self, heads: int, hidden_size: int, longest: int, dropout: float, attention_dropout: float, eps: float
    ) -> None:
        super().__init__()
        self.heads, self.longest, self.eps = heads, longest, eps
        self.inputs = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.distance_bias = nn.Parameter(0.02 * torch.randn(longest))  # of 0, 1, ... positions back
        self.dropout, self.attention_dropout = nn.Dropout(dropout), nn.Dropout(attention_dropout)

    def forward(self, tokens: Tensor, asking: Tensor, shapes: Shapes, selected: Tensor | None = None) -> Tensor:
        """[T, D], [A, D] -> [A, D], or [N, D] for the selected positions."""
        size = asking.size(1)
        to_gate, to_value, to_query, to_key = self.inputs.weight.split(size)
        gate_and_query = F.silu(self._normed(asking) @ torch.cat([to_gate, to_query]).T)
        value_and_key = F.silu(self._normed(tokens) @ torch.cat([to_value, to_key]).T)
        gate, query = gate_and_query.split(size, dim=1)
        asked, seen = [rows * last for rows, _, last in shapes], [rows * length for rows, length, _ in shapes]
        value, key = (part.split(seen) for part in value_and_key.split(size, dim=1))
        columns = zip(query.split(asked), value, key, shapes)
        sums = torch.cat([self._sums(q, v, k, rows) for q, v, k, (rows, *_) in columns])
        if selected is not None:
            sums, gate, asking = sums[selected], gate[selected], asking[selected]
        return asking + self.output(self.dropout(self._normed(sums) * gate))

    def _sums(self, query: Tensor, value: Tensor, key: Tensor, rows: int) -> Tensor:
        """A V of ``rows`` = B windows: [B P, D], [B L, D], [B L, D] -> [B P, D]."""
        size = query.size(1) // self.heads
        query, value, key = (part.view(rows, -1, self.heads, size).transpose(1, 2) for part in (query, value, key))
        asked, length = query.size(2), key.size(2)
        at = torch.arange(length, device=query.device)
        back = at[length - asked :, None] - at  # [P, L], negative in the future
        weights = F.silu(query @ key.transpose(-1, -2) + self.distance_bias[back.clamp(min=0)]) / self.longest
        weights = self.attention_dropout(weights.masked_fill(back < 0, 0.0))  # [B, heads, P, L]
        return (weights @ value).transpose(1, 2).flatten(2).flatten(0, 1)

    def _normed(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps)
