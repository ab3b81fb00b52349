"""User vectors of many prefixes at once: a window that several of them share is read once."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from recbole_raserec.data.sequences import Prefixes, ragged_arange
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

    Prefixes that begin at the same item are positions of one window, the longest of them, since a
    causal backbone's output at a position is the user vector of the prefix that ends there.
    """
    if len(prefixes) == 0:
        raise ValueError("there is no prefix to encode")
    backbone.eval()
    items = torch.from_numpy(prefixes.sequences.items)
    lengths = np.minimum(prefixes.lengths, max_length)  # [R]
    begin, window = np.unique(prefixes.target_at - lengths, return_inverse=True)  # [W], [R]
    by_window = np.argsort(window, kind="stable")
    first = np.searchsorted(window[by_window], np.arange(len(begin) + 1))  # rows of w: by_window[first[w]:first[w + 1]]
    longest = np.maximum.reduceat(lengths[by_window], first[:-1])
    asked = longest - np.minimum.reduceat(lengths[by_window], first[:-1]) + 1  # last positions that are wanted
    vectors: np.ndarray | None = None
    for block in progress(_blocks_of_equal_shape(longest, asked)):
        length, last = int(longest[block[0]]), int(asked[block].max())
        item_seq = items[torch.from_numpy(begin[block])[:, None] + torch.arange(length)]  # [B, L]
        hidden = backbone.encode_window(item_seq.to(device), last).float()  # [B, P, D]
        if vectors is None:
            vectors = np.empty((len(prefixes), hidden.size(2)), np.float32)
        count = np.diff(first)[block]
        rows = by_window[np.repeat(first[block], count) + ragged_arange(count)]
        at = (
            torch.from_numpy(np.repeat(np.arange(len(block)), count)),
            torch.from_numpy(lengths[rows] - length + last - 1),
        )
        vectors[rows] = hidden[at].cpu().numpy()
    assert vectors is not None
    return vectors


def _blocks_of_equal_shape(length: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    """Window numbers in blocks of one length, nothing padded; those of a single prefix stand apart."""
    single = asked == 1
    order = np.lexsort((single, length))
    block_of = np.cumsum(length[order]) // _TOKENS
    ends = np.flatnonzero(np.diff(block_of) | np.diff(length[order]) | np.diff(single[order])) + 1
    return np.split(order, ends)
