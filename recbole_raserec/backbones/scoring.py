"""Scores of items: inner products, and a bias where the backbone has one, as one more dimension of both sides."""

from __future__ import annotations

import torch
from torch import Tensor


def scored_items(vectors: Tensor, bias: Tensor | None) -> Tensor:
    """[V, D] and [V] or None -> [V, D + 1] or, without a bias, [V, D]."""
    return vectors if bias is None else torch.cat([vectors, bias[:, None]], dim=1)


def scoring_users(vectors: Tensor, bias: Tensor | None) -> Tensor:
    """User vectors [B, D] to multiply :func:`scored_items` with: [B, D + 1] or [B, D]."""
    return vectors if bias is None else torch.cat([vectors, vectors.new_ones(len(vectors), 1)], dim=1)
