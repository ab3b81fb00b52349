"""User vectors of many prefixes at once, by the cheapest way a backbone allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_raserec.data.sequences import Prefixes

_ROWS = 4096  # prefixes encoded at once


@torch.no_grad()
def encode_prefixes(
    backbone: nn.Module,
    prefixes: Prefixes,
    max_length: int,
    device: torch.device,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> np.ndarray:
    """[R, D] float32 user vector of each row's last ``max_length`` items; dropout off.

    Rows are taken in the order of their length so that a block is no longer than it must be.
    """
    backbone.eval()
    items = torch.from_numpy(prefixes.sequences.items)
    order = np.argsort(np.minimum(prefixes.lengths, max_length), kind="stable")
    blocks = [order[start : start + _ROWS] for start in range(0, len(order), _ROWS)]
    vectors: np.ndarray | None = None
    for rows in progress(blocks):
        length = int(min(prefixes.lengths[rows].max(), max_length))
        positions, real = (torch.from_numpy(a) for a in prefixes.windows(rows, length))
        item_seq: Tensor = items[positions] * real
        hidden = backbone(item_seq.to(device), real.sum(dim=1).to(device)).float().cpu().numpy()
        if vectors is None:
            vectors = np.empty((len(prefixes), hidden.shape[1]), np.float32)
        vectors[rows] = hidden
    if vectors is None:
        raise ValueError("there is no prefix to encode")
    return vectors
