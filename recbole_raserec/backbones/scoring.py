"""Scores of items as inner products. A bias of the backbone becomes one more dimension of users and items."""

from __future__ import annotations

import torch
from torch import Tensor


def scored_items(vectors: Tensor, bias: Tensor | None) -> Tensor:
    """[V, D] and [V] or None -> [V, D + 1] or, without a bias, [V, D]."""
    return vectors if bias is None else torch.cat([vectors, bias[:, None]], dim=1)


def scoring_users(vectors: Tensor, bias: Tensor | None) -> Tensor:
    """User vectors [B, D] in the form that is multiplied with :func:`scored_items`: [B, D + 1] or [B, D]."""
    return vectors if bias is None else torch.cat([vectors, vectors.new_ones(len(vectors), 1)], dim=1)
