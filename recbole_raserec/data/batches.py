"""Packed training batches: each row is a window of a sequence, with a loss at every position that has a target.

A causal backbone reads a window once and sees every (prefix, target) pair in it. So an epoch encodes each item
about once. With one sample per prefix it would encode each item up to L times. Every pair has the same weight:
randomly drawn windows fill a batch up to a budget of pairs, and the summed loss of the batch is divided by this
budget. Within a batch, windows of similar length form blocks, so there is little padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.runtime.ragged import ragged_arange

TARGET_SEQ = "target_list"
WEIGHT = "pair_weight"
GENERATED = "pair_generated"
TARGET_AT = "pair_target_at"
AUTO = "auto"
_TOKENS_A_PAIR = 2
SHORTEST_BLOCK = 4  # blocks hold windows of 1-4, 5-8, 9-16, ... items; smaller blocks would be mostly overhead


@dataclass(frozen=True)
class Windows:
    """Windows of input items ([W] in each array): begin, length, number of pairs, and the window's sequence.

    Window w reads ``items[begin[w]:begin[w] + length[w]]``. The target of each position is the next item.
    Only the last ``pairs[w]`` positions have a loss.
    """

    begin: np.ndarray
    length: np.ndarray
    pairs: np.ndarray
    sequence: np.ndarray

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def tokens_a_pair(self) -> float:
        """Number of items that are encoded for each pair, without padding."""
        return float(self.length.sum() / max(self.pairs.sum(), 1))


def training_windows(sequences: Sequences, max_length: int, stride: int = 1) -> Windows:
    """Windows that hold every training (prefix, target) pair exactly once.

    The first window of a sequence reads its first ``max_length`` items, and every position has a loss. Each
    further window ends ``stride`` items later, and only its last ``stride`` positions have a loss. With
    ``stride = 1`` every prefix is cut to exactly its last ``max_length`` items, as in RecBole.
    """
    inputs = _inputs(sequences)
    start = sequences.offsets[:-1]
    first = np.minimum(inputs, max_length)
    more = -(-(inputs - first) // stride)  # ceil
    owner = np.repeat(np.arange(len(inputs)), more)
    nth = ragged_arange(more)
    end = np.minimum(first[owner] + (nth + 1) * stride, inputs[owner])
    keep = inputs > 0
    return Windows(
        begin=np.r_[start[keep], start[owner] + end - max_length],
        length=np.r_[first[keep], np.full(len(owner), max_length)],
        pairs=np.r_[first[keep], end - first[owner] - nth * stride],
        sequence=np.r_[np.flatnonzero(keep), owner],
    )


def shortest_stride(sequences: Sequences, max_length: int) -> int:
    """The smallest stride with which an epoch encodes at most ``_TOKENS_A_PAIR`` tokens a pair.

    This is ``window_stride=auto``. An epoch must encode at least one token a pair, the last item of its prefix.
    Padding is not counted. ``max_length`` always meets the bound: n inputs then have ceil(n / L) windows of L tokens,
    fewer than n + L tokens.
    """
    inputs = _inputs(sequences)
    inputs = inputs[inputs > 0]
    first = np.minimum(inputs, max_length)
    beyond = (inputs - first)[inputs > max_length]
    room = _TOKENS_A_PAIR * inputs.sum() - first.sum()
    low, high = 0, max_length
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if max_length * (-(-beyond // middle)).sum() <= room else (middle, high)
    return high


def _inputs(sequences: Sequences) -> np.ndarray:
    """[U] number of items of each sequence that have a target and a weight above 0."""
    inputs = np.maximum(sequences.train_lengths() - 1, 0)  # the last training item is only a target
    return inputs if sequences.weights is None else np.where(sequences.weights > 0, inputs, 0)


def batch_windows(windows: Windows, budget: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide all windows at random into batches of at most ``budget`` pairs.

    The windows are shuffled and cut greedily. A window with more pairs than the budget is a batch of its own.
    """
    order = rng.permutation(len(windows))
    pairs_so_far = np.cumsum(windows.pairs[order])
    batches, start, done = [], 0, 0
    while start < len(order):
        stop = max(int(np.searchsorted(pairs_so_far, done + budget, side="right")), start + 1)
        batches.append(order[start:stop])
        start, done = stop, pairs_so_far[stop - 1]
    return batches


def blocks_by_length(length: np.ndarray, pairs: np.ndarray) -> list[np.ndarray]:
    """Indices of the windows of each length class: up to 4 items, up to 8, up to 16, ...

    Windows that continue a long history have classes of their own, because only their last positions have a loss.
    """
    classes = np.ceil(np.log2(np.maximum(length, SHORTEST_BLOCK))) * np.where(pairs < length, -1, 1)
    return [np.flatnonzero(classes == each) for each in np.unique(classes)]


def _share_of(rows: np.ndarray, pairs: np.ndarray, number: int, processes: int) -> np.ndarray:
    """The share of process ``number``. Rows are dealt largest first, to and fro, so all get about as many pairs."""
    order = np.argsort(-pairs, kind="stable")
    turn = np.arange(len(rows)) % (2 * processes)
    return rows[order[np.minimum(turn, 2 * processes - 1 - turn) == number]]


class PackedLoader:
    """The training part as packed batches; each batch is a list of blocks.

    Parameters
    ----------
    sequences : all interactions; only their training part is read.
    budget : number of pairs in a batch.
    stride : as in :func:`training_windows`; "auto" is :func:`shortest_stride`.
    seed : the order of epoch e depends only on (seed, e), so a resumed run repeats it.
    part : number of this process, and number of processes. They divide each batch into shares of about as many pairs.
    """

    def __init__(
        self,
        sequences: Sequences,
        item_seq_field: str,
        max_length: int,
        budget: int,
        seed: int,
        stride: int | str = 1,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.part = part
        self.items = torch.from_numpy(sequences.items)
        self.stride = shortest_stride(sequences, max_length) if stride == AUTO else int(stride)
        self.windows = training_windows(sequences, max_length, self.stride)
        self.extra: dict[str, np.ndarray] = {}
        if sequences.weights is not None:
            self.extra[WEIGHT] = sequences.weights[self.windows.sequence]
            self.extra[GENERATED] = self.windows.sequence >= sequences.original
        self.item_seq_field, self.budget, self.seed = item_seq_field, budget, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self._batches = batch_windows(self.windows, self.budget, np.random.default_rng((self.seed, epoch)))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Interaction]]:
        number, processes = self.part
        for batch in self._batches:
            rows = batch if processes == 1 else _share_of(batch, self.windows.pairs[batch], number, processes)
            blocks = blocks_by_length(self.windows.length[rows], self.windows.pairs[rows])
            yield [self._block(rows[block]) for block in blocks]

    def _block(self, rows: np.ndarray) -> Interaction:
        """``item_id_list`` [B, L] and ``target_list`` [B, P]: the items after its last P positions, 0 without a loss.

        P = L, except where all windows are full and only their last positions have a loss.
        ``pair_target_at`` [B, P] is the position of the target in the flat items. For a regenerated data set,
        ``pair_weight`` [B, P] is the weight of each pair, and ``pair_generated`` [B, P] whether it was generated.
        """
        begin, length, pairs = (
            torch.from_numpy(column[rows])[:, None]
            for column in (self.windows.begin, self.windows.length, self.windows.pairs)
        )
        position = torch.arange(int(length.max()))  # [L]
        real = position < length  # [B, L]
        at = torch.where(real, begin + position, 0)
        item_seq = self.items[at] * real
        target_seq = self.items[at + 1] * (real & (position >= length - pairs))
        last = int(pairs.max())
        block = {self.item_seq_field: item_seq, TARGET_SEQ: target_seq[:, -last:], TARGET_AT: (at + 1)[:, -last:]}
        for field, of_window in self.extra.items():
            block[field] = torch.from_numpy(of_window[rows])[:, None].expand_as(block[TARGET_SEQ])
        return Interaction(block)
