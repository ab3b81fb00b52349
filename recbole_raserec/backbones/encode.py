"""User vectors of many prefixes at once. A window that several prefixes share is read once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.backbones.protocol import Backbone, CausalBackbone
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.runtime.progress import Progress
from recbole_raserec.runtime.ragged import spans

_TOKENS = 2**15  # tokens encoded at once: enough to keep every core busy, and few enough to stay in cache


@torch.no_grad()
def encode_prefixes(backbone: Backbone, prefixes: Prefixes, progress: Progress = iter) -> np.ndarray:
    """[R, D] float32 user vector of each row's last items, as many as the backbone reads; dropout off."""
    backbone.eval()
    items = backbone.item_vectors
    vectors = np.empty((len(prefixes), items.shape[1]), np.float32)
    if len(prefixes):
        encode: Any = _encode_windows if backbone.causal else _encode_each
        for rows, hidden in encode(backbone, prefixes, items.device, progress):
            vectors[rows] = hidden.float().cpu().numpy()
    return vectors


Encoded = Iterator[tuple[np.ndarray, Tensor]]  # rows [B] and their vectors [B, D]


def _encode_each(backbone: Backbone, prefixes: Prefixes, device: torch.device, progress: Progress) -> Encoded:
    """Every prefix by itself, those of like length together."""
    items = torch.from_numpy(prefixes.sequences.items)
    lengths = np.minimum(prefixes.lengths, backbone.max_seq_length)
    order = np.argsort(lengths, kind="stable")
    ends = np.flatnonzero(np.diff(np.cumsum(lengths[order]) // _TOKENS)) + 1
    for rows in progress(np.split(order, ends)):
        positions, real = (torch.from_numpy(a) for a in prefixes.windows(rows, int(lengths[rows].max())))
        item_seq, users = items[positions] * real, torch.from_numpy(prefixes.take(rows).users)
        yield rows, backbone(*(column.to(device) for column in (item_seq, real.sum(dim=1), users)))


def _encode_windows(backbone: CausalBackbone, prefixes: Prefixes, device: torch.device, progress: Progress) -> Encoded:
    """Prefixes that begin at the same item are positions of one window, the longest of them.

    The output of a causal backbone at a position is the user vector of the prefix that ends there.
    """
    items = torch.from_numpy(prefixes.sequences.items)
    lengths = np.minimum(prefixes.lengths, backbone.max_seq_length)  # [R]
    begin, window = np.unique(prefixes.target_at - lengths, return_inverse=True)  # [W], [R]
    by_window = np.argsort(window, kind="stable")
    first = np.searchsorted(window[by_window], np.arange(len(begin) + 1))  # rows of w: by_window[first[w]:first[w + 1]]
    longest = np.maximum.reduceat(lengths[by_window], first[:-1])
    asked = longest - np.minimum.reduceat(lengths[by_window], first[:-1]) + 1  # last positions that are needed
    for block in progress(_blocks_of_equal_shape(longest, asked)):
        length, last = int(longest[block[0]]), int(asked[block].max())
        item_seq = items[torch.from_numpy(begin[block])[:, None] + torch.arange(length)]  # [B, L]
        hidden = backbone.encode_window(item_seq.to(device), last)  # [B, P, D]
        count = np.diff(first)[block]
        rows = by_window[spans(first[block], count)]
        at = (
            torch.from_numpy(np.repeat(np.arange(len(block)), count)),
            torch.from_numpy(lengths[rows] - length + last - 1),
        )
        yield rows, hidden[at]


def _blocks_of_equal_shape(length: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    """Window numbers in blocks of equal length, so nothing is padded. Windows of one prefix have their own blocks."""
    single = asked == 1
    order = np.lexsort((single, length))
    block_of = np.cumsum(length[order]) // _TOKENS
    ends = np.flatnonzero(np.diff(block_of) | np.diff(length[order]) | np.diff(single[order])) + 1
    return np.split(order, ends)
