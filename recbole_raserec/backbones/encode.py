"""User vectors of many prefixes at once, by the cheapest way a backbone allows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.progress import Progress

_TOKENS = 2**15  # encoded at once: enough to keep every core busy, little enough to stay in cache


@torch.no_grad()
def encode_prefixes(
    backbone: nn.Module,
    prefixes: Prefixes,
    max_length: int,
    device: torch.device,
    progress: Progress = iter,
) -> np.ndarray:
    """[R, D] float32 user vector of each row's last ``max_length`` items; dropout off.

    A block holds rows of one length: nothing is padded.
    """
    backbone.eval()
    items = torch.from_numpy(prefixes.sequences.items)
    lengths = np.minimum(prefixes.lengths, max_length)
    order = np.argsort(lengths, kind="stable")
    block_of = np.cumsum(lengths[order]) // _TOKENS
    ends = np.flatnonzero(np.diff(block_of) | np.diff(lengths[order])) + 1
    blocks = np.split(order, ends) if len(order) else []
    vectors: np.ndarray | None = None
    for rows in progress(blocks):
        positions, real = (torch.from_numpy(a) for a in prefixes.windows(rows, int(lengths[rows[0]])))
        item_seq: Tensor = items[positions]
        hidden = backbone(item_seq.to(device), real.sum(dim=1).to(device)).float().cpu().numpy()
        if vectors is None:
            vectors = np.empty((len(prefixes), hidden.shape[1]), np.float32)
        vectors[rows] = hidden
    if vectors is None:
        raise ValueError("there is no prefix to encode")
    return vectors
