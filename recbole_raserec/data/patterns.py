"""Mining of transition patterns, and their pairing with the sequences that contain them (arXiv 2405.17795).

A pattern is an ordered subsequence of at least two items. It lies inside ``window`` consecutive positions, may have
gaps, and occurs in at least ``min_support`` sequences. Seq2Pat calls these limits ``max_span`` and frequency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recbole_raserec.data.sequences import Prefixes, Sequences
from recbole_raserec.runtime.ragged import offsets_of, ragged_arange, spans

Array = np.ndarray
_CANDIDATES = 2**22  # (pattern, sequence) candidates verified at once
_STARTS = 2**16  # start positions handled at once; the sorted arrays then fit in cache


@dataclass(frozen=True)
class Patterns:
    """Mined patterns, sorted by length, then by their items.

    Attributes
    ----------
    items : [n] item ids, pattern after pattern.
    offsets : [P + 1] pattern ``p`` is ``items[offsets[p]:offsets[p + 1]]``.
    support : [P] number of different sequences it was mined from.
    """

    items: Array
    offsets: Array
    support: Array

    def __len__(self) -> int:
        return len(self.support)

    def prefixes(self) -> Prefixes:
        """Each pattern as a pair: its last item is the target, the items before are the prefix. The user is 0, none."""
        owner = np.arange(len(self))
        return Prefixes(Sequences(self.items, self.offsets, np.zeros_like(owner)), owner, self.offsets[1:] - 1)

    @property
    def lengths(self) -> Array:
        """[P] number of items of each pattern."""
        return np.diff(self.offsets)


def mine_patterns(sequences: Sequences, window: int = 5, min_support: int = 2) -> Patterns:
    """Find all patterns of ``sequences``; the search is exact.

    A pattern can be frequent only if it is frequent without its last item. So occurrences of length m + 1 are
    grown from the occurrences of frequent patterns of length m. This is done at once for a range of first items.
    The time grows with the number of occurrences: at most 2^(window - 1) per interaction, in practice a few.

    Parameters
    ----------
    sequences : training items only; the held-out items must have been removed.
    window : number of consecutive positions that a pattern may span.
    min_support : number of different sequences that a pattern must occur in.
    """
    of_length: list[list[tuple[Array, Array]]] = [[] for _ in range(window - 1)]  # (patterns, supports) of each range
    span = int(sequences.items.max(initial=0)) + 1
    for windows, owners in _windows(sequences, window):
        for found, grown in zip(of_length, _grow(windows, owners, span, min_support)):
            found.append(grown)
    tables = [table for found in of_length for table, _ in found]
    lengths = np.concatenate([np.full(len(t), t.shape[1]) for t in tables] or [np.zeros(0, int)])
    return Patterns(
        items=np.concatenate([t.ravel() for t in tables] or [np.zeros(0)]).astype(sequences.items.dtype),
        offsets=offsets_of(lengths).astype(np.int64),
        support=np.concatenate([support for found in of_length for _, support in found] or [np.zeros(0, np.int64)]),
    )


def _windows(sequences: Sequences, window: int) -> Iterator[tuple[Array, Array]]:
    """The window [n, window] that starts at each position, 0 after the sequence's end, and the sequence's number [n].

    Each step yields one range of first items, in ascending order. Within a range, the positions ascend.
    """
    items = np.r_[sequences.items, np.zeros(window, sequences.items.dtype)]
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    ranges = (np.cumsum(np.bincount(sequences.items)) // _STARTS).astype(np.uint16)  # see _order
    of_position = ranges[sequences.items]
    order = np.argsort(of_position, kind="stable")
    for first in np.split(order, np.cumsum(np.bincount(of_position))[:-1]):
        at = first[:, None] + np.arange(window)
        inside = at < sequences.offsets[1:][owner[first], None]
        yield np.where(inside, items[at], 0).astype(np.int64), owner[first]


def _grow(windows: Array, owners: Array, span: int, min_support: int) -> Iterator[tuple[Array, Array]]:
    """Patterns that start where ``windows`` [n, window] start: items [P, m] and supports [P], for m = 2, 3, ...

    ``span`` is larger than any item id.
    """
    size = (windows > 0).sum(axis=1)
    row, last = np.arange(len(windows)), np.zeros(len(windows), np.int64)
    code, keys, _ = _frequent(windows[:, 0], owners, min_support)
    table = keys[:, None]  # items of the frequent patterns of this length
    while True:
        kept = code >= 0
        row, last, code = row[kept], last[kept], code[kept]
        if not len(code):
            return
        more = size[row] - last - 1
        last = np.repeat(last, more) + 1 + ragged_arange(more)
        row, code = np.repeat(row, more), np.repeat(code, more)
        code, keys, support = _frequent(code * span + windows[row, last], owners[row], min_support)
        table = np.c_[table[keys // span], keys % span]
        yield table, support


def _frequent(keys: Array, owners: Array, min_support: int) -> tuple[Array, Array, Array]:
    """Number the frequent keys.

    Parameters
    ----------
    keys, owners : [n] key of each occurrence, and the sequence that it occurs in; owners ascend.

    Returns
    -------
    code : [n] position of each occurrence's key among the frequent keys in ascending order, or -1.
    frequent, support : [F] the frequent keys, and the number of different owners of each.
    """
    order = _order(keys)  # owners still ascend within a key
    sorted_keys, sorted_owners = keys[order], owners[order]
    new_key = np.diff(sorted_keys, prepend=-1) != 0
    new_owner = new_key | (np.diff(sorted_owners, prepend=-1) != 0)
    group = np.cumsum(new_key) - 1
    support = np.bincount(group, weights=new_owner, minlength=int(new_key.sum())).astype(np.int64)
    kept = support >= min_support
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    code = np.empty(len(keys), np.int64)
    code[order] = number[group]
    return code, sorted_keys[new_key][kept], support[kept]


def _order(keys: Array) -> Array:
    """``np.argsort(keys, kind="stable")`` in linear time: numpy sorts 16-bit numbers by counting."""
    order = np.argsort(keys.astype(np.uint16), kind="stable")  # the cast keeps the lowest 16 bits
    for shift in range(16, int(keys.max(initial=0)).bit_length(), 16):
        order = order[np.argsort((keys[order] >> shift).astype(np.uint16), kind="stable")]
    return order


def find_containing(sequences: Sequences, patterns: Patterns) -> tuple[Array, Array]:
    """Every (sequence, pattern) where the sequence contains the pattern as a subsequence, with gaps of any width.

    An inverted index gives the sequences that hold a pattern's rarest item; only these are checked. The earliest
    match in them is followed item by item, for all candidates at once.

    Returns
    -------
    sequence, pattern : [M] each, patterns ascending, sequences ascending within a pattern.
    """
    index = _InvertedIndex(sequences)
    count = index.count(patterns.items)
    if len(patterns) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rarest = np.minimum.reduceat(count, patterns.offsets[:-1])
    at_rarest = np.flatnonzero(count == np.repeat(rarest, patterns.lengths))
    owner = np.repeat(np.arange(len(patterns)), patterns.lengths)[at_rarest]
    rare_item = patterns.items[at_rarest[np.r_[True, owner[1:] != owner[:-1]]]]
    part = np.cumsum(rarest) // _CANDIDATES
    chunks = np.split(np.arange(len(patterns)), np.flatnonzero(np.diff(part)) + 1)
    found = [index.verify(patterns, chunk, rare_item[chunk]) for chunk in chunks]
    sequence, pattern = (np.concatenate(column) for column in zip(*found))
    return sequence, pattern


class _InvertedIndex:
    """Where each item occurs: positions sorted by (item, position)."""

    def __init__(self, sequences: Sequences) -> None:
        self.sequences = sequences
        self.span = len(sequences.items) + 1
        keys = np.sort(sequences.items.astype(np.int64) * self.span + np.arange(len(sequences.items)))
        self.keys = np.r_[keys, np.iinfo(np.int64).max]  # the last entry only stops every search
        self.owner = np.repeat(np.arange(len(sequences)), sequences.lengths)

    def count(self, items: Array) -> Array:
        """[n] occurrences of each item."""
        return np.searchsorted(self.keys, (items.astype(np.int64) + 1) * self.span) - self._begin(items)

    def _begin(self, items: Array) -> Array:
        return np.searchsorted(self.keys, items.astype(np.int64) * self.span)

    def verify(self, patterns: Patterns, chunk: Array, rare_item: Array) -> tuple[Array, Array]:
        """(sequence, pattern) of the chunk's patterns ``chunk`` [C]."""
        begin, count = self._begin(rare_item), self.count(rare_item)
        position = self.keys[spans(begin, count)] % self.span
        pattern, sequence = np.repeat(chunk, count), self.owner[position]
        once = np.r_[True, (np.diff(pattern) != 0) | (np.diff(sequence) != 0)][: len(pattern)]
        pattern, sequence = pattern[once], sequence[once]
        at = self.sequences.offsets[sequence]  # the next item may be here or later
        for nth in range(int(patterns.lengths[chunk].max(initial=0))):
            asked = np.flatnonzero(nth < patterns.lengths[pattern])
            item = patterns.items[patterns.offsets[pattern[asked]] + nth].astype(np.int64)
            key = self.keys[np.searchsorted(self.keys, item * self.span + at[asked])]
            hit = (key // self.span == item) & (key % self.span < self.sequences.offsets[1:][sequence[asked]])
            at[asked] = key % self.span + 1
            keep = np.ones(len(pattern), bool)
            keep[asked] = hit
            pattern, sequence, at = pattern[keep], sequence[keep], at[keep]
        return sequence, pattern


def pair_patterns(sequences: Sequences, patterns: Patterns, per_sequence: int, seed: int) -> tuple[Array, Array]:
    """Up to ``per_sequence`` patterns for each sequence, drawn uniformly from the patterns that it contains.

    Returns
    -------
    sequence, pattern : [M] each, sequences ascending. They are the regenerator's sources and targets.
    """
    sequence, pattern = find_containing(sequences, patterns)
    lot = np.random.default_rng(seed).random(len(sequence))
    order = np.lexsort((lot, sequence))
    nth = ragged_arange(np.bincount(sequence, minlength=len(sequences)))
    kept = np.sort(order[nth < per_sequence])  # back to the order of patterns ...
    kept = kept[np.argsort(sequence[kept], kind="stable")]  # ... within each sequence
    return sequence[kept], pattern[kept]
