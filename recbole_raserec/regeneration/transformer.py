"""Transformer layers over rows of unequal length. They do not compute padding, and keys and values can be stored."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_raserec.nn.dropout import Dropout

Past = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # keys, values of new tokens -> those of all tokens so far


class Packed:
    """The real tokens of padded rows, concatenated. So no layer computes padding.

    Attributes
    ----------
    tokens, position : [N] each real token and its position in its row.
    real : [B, L] True where the padded rows have a real token.
    """

    def __init__(self, tokens: Tensor, real: Tensor | None = None, start: int = 0) -> None:
        """``tokens`` [B, L] whose first position is ``start``; by default the tokens above 0 are real."""
        self.real = tokens > 0 if real is None else real
        self._place = self.real.flatten().nonzero()[:, 0]
        self._number = (self.real.flatten().cumsum(dim=0) - 1).clamp_(min=0).view(self.real.shape)
        self.tokens = tokens.flatten()[self._place]
        self.position = self._place % self.real.size(1) + start

    def pad(self, x: Tensor) -> Tensor:
        """[N, D] -> [B, L, D]. Padding positions hold arbitrary tokens, so the caller must mask them."""
        if len(x) == self.real.numel():
            return x.unflatten(0, self.real.shape)
        return F.embedding(self._number, x)  # its gradient is faster than that of indexing

    def pad_each(self, x: Tensor) -> Tensor:
        """[N, K, D] -> [B, K, L, D]."""
        each = torch.arange(x.size(1), device=x.device)[:, None]
        return F.embedding(self._number[:, None] * x.size(1) + each, x.flatten(0, 1))

    def pick(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [N, D], without padding."""
        flat = x.flatten(0, 1)
        return flat if len(flat) == len(self.tokens) else F.embedding(self._place, flat)


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be stored."""

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.size, self.heads = hidden_size, heads
        self.project, self.output = nn.Linear(hidden_size, 3 * hidden_size), nn.Linear(hidden_size, hidden_size)
        self.dropout = Dropout(dropout)

    def queries_keys_values(self, x: Tensor, rows: Packed) -> tuple[Tensor, ...]:
        """Tokens [N, D] that attend to each other -> queries, keys and values, each [B, heads, L, D / heads]."""
        return self._split(rows.pad(self.project(x)))

    def queries(self, x: Tensor, rows: Packed) -> Tensor:
        """Tokens [N, D] that attend to a memory -> queries [B, heads, T, D / heads]."""
        weight, bias = self.project.weight[: self.size], self.project.bias[: self.size]
        return self._split(rows.pad(F.linear(x, weight, bias)))[0]

    def keys_values(self, memory: Tensor) -> tuple[Tensor, ...]:
        """The memory that tokens attend to [B, L, D] -> keys and values, each [B, heads, L, D / heads]."""
        return self._split(F.linear(memory, self.project.weight[self.size :], self.project.bias[self.size :]))

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """[B, L, n D] -> n tensors [B, heads, L, D / heads]."""
        parts = x.unflatten(-1, (-1, self.heads, self.size // self.heads)).permute(2, 0, 3, 1, 4)
        return parts.unbind()

    def forward(self, rows: Packed, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Queries [B, heads, T, d], keys and values [B, heads, L, d], and their :func:`bias_of` -> [N, D]."""
        shape = queries.shape
        q, k, v = (x.flatten(0, 1) for x in (queries, keys, values))
        logits = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=shape[-1] ** -0.5)  # [B heads, T, L]
        mixed = torch.bmm(self.dropout(logits.softmax(dim=-1)), v).view(shape)
        return self.output(rows.pick(mixed.transpose(1, 2).flatten(2)))


def bias_of(visible: Tensor, heads: int, like: Tensor) -> Tensor:
    """The mask that :class:`Attention` adds to its logits: visible positions [B, T or 1, L] -> [B heads, T or 1, L]."""
    bias = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill_(~visible, torch.finfo(like.dtype).min).repeat_interleave(heads, dim=0)


class Layer(nn.Module):
    """Post-norm Transformer layer. With ``cross`` it also attends to a memory."""

    def __init__(self, hidden_size: int, heads: int, inner_size: int, dropout: float, cross: bool = False) -> None:
        super().__init__()
        self.attention = Attention(hidden_size, heads, dropout)
        self.cross = Attention(hidden_size, heads, dropout) if cross else None
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden_size, inner_size), nn.GELU(), Dropout(dropout), nn.Linear(inner_size, hidden_size)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(3 if cross else 2))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        rows: Packed,
        bias: Tensor,
        past: Past | None = None,
        memory: tuple[Tensor, ...] | None = None,
        memory_bias: Tensor | None = None,
    ) -> Tensor:
        """[N, D] -> [N, D].

        Parameters
        ----------
        rows : the arrangement of the N tokens in rows [B, T].
        bias : :func:`bias_of` the positions that each position may attend to.
        past : adds the tokens' keys and values to the stored ones and returns all; by default nothing is stored.
        memory : keys and values of the memory; ``memory_bias`` masks its padding.
        """
        queries, *own = self.attention.queries_keys_values(x, rows)
        x = self.norms[0](x + self.dropout(self.attention(rows, queries, *(past(*own) if past else own), bias)))
        if self.cross is not None:
            assert memory is not None and memory_bias is not None
            mixed = self.cross(rows, self.cross.queries(x, rows), *memory, memory_bias)
            x = self.norms[1](x + self.dropout(mixed))
        return self.norms[-1](x + self.dropout(self.feed_forward(x)))
