"""Item sequences as two flat arrays, and the parts of a split as indices into them.

Nothing is padded or copied per prefix. A data set of n interactions takes O(n) memory.
RecBole's ``data_augmentation`` takes O(50 n).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_raserec.data.splits import Split, leave_one_out
from recbole_raserec.runtime.ragged import offsets_of, ragged_arange, spans

Array = np.ndarray


@dataclass(frozen=True)
class Sequences:
    """Chronological item sequences, one per user.

    Attributes
    ----------
    items : [n] item ids, user after user, oldest first.
    offsets : [U + 1] sequence ``u`` is ``items[offsets[u]:offsets[u + 1]]``.
    users : [U] user id of each sequence.
    generated : number of generated sequences; they are the last ones. All their items are training items.
    weights : [U] weight of each sequence's pairs in the loss; None means 1 for each.
    times : [n] time of each item in seconds, NaN where it has none; None means that no item has one.
    split : the parts of the original sequences; None means leave-one-out.
    """

    items: Array
    offsets: Array
    users: Array
    generated: int = 0
    weights: Array | None = None
    times: Array | None = None
    split: Split | None = None

    @classmethod
    def from_sorted(cls, users: Array, items: Array, times: Array | None = None) -> Sequences:
        """Group interactions that are already sorted by user, then by time ([n] each)."""
        starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.zeros(0, int)
        return cls(items=items, offsets=np.r_[starts, len(users)].astype(np.int64), users=users[starts], times=times)

    @property
    def lengths(self) -> Array:
        """[U] number of items of each sequence."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def parts(self) -> Split:
        """The parts of the original sequences."""
        return self.split or leave_one_out(self.lengths[: self.original])

    def train_lengths(self) -> Array:
        """[U] number of items that training may see. It may see all items of a generated sequence."""
        return np.r_[self.parts.train, self.lengths[self.original :]]

    @property
    def original(self) -> int:
        """Number of original (not generated) sequences; they come first."""
        return len(self) - self.generated

    def training_only(self) -> Sequences:
        """The original sequences without their held-out items."""
        length = self.train_lengths()[: self.original]
        at = spans(self.offsets[: self.original], length)
        return Sequences(self.items[at], offsets_of(length), self.users[: self.original])

    def training_counts(self, item_num: int) -> Array:
        """[V] how often each item occurs in :meth:`training_only`."""
        return np.bincount(self.training_only().items, minlength=item_num)

    def without_generated(self) -> Sequences:
        """The original sequences with all their items."""
        number = self.original
        return Sequences(
            self.items[: self.offsets[number]], self.offsets[: number + 1], self.users[:number], split=self.split
        )

    def recent(self, max_length: int) -> Sequences:
        """The last ``max_length`` items of each sequence."""
        length = np.minimum(self.lengths, max_length)
        at = spans(self.offsets[1:] - length, length)
        return Sequences(self.items[at], offsets_of(length), self.users)

    def train_part(self, generated: bool = True) -> Prefixes:
        """Every (prefix, target) training pair, sequence after sequence; only original ones unless ``generated``."""
        rows = np.maximum(self.train_lengths() - 1, 0)
        if not generated:
            rows[self.original :] = 0
        start = np.repeat(self.offsets[:-1], rows)
        return Prefixes(self, np.repeat(np.arange(len(self)), rows), start + ragged_arange(rows) + 1)

    def trained_part(self) -> Prefixes:
        """The pairs of :meth:`train_part` whose weight is above 0."""
        part = self.train_part()
        if self.weights is None:
            return part
        return part.take(np.flatnonzero(self.weights[part.sequence] > 0))

    def valid_part(self) -> Prefixes:
        """The validation pair of every original sequence that has one."""
        return self._pairs_at(self.parts.valid)

    def test_part(self) -> Prefixes:
        """The test pair of every original sequence that has one."""
        return self._pairs_at(self.parts.test)

    def known_part(self) -> Prefixes:
        """Every pair that is later than training and known when the test part begins."""
        return self._pairs_between(self.parts.train, self.parts.known)

    def later_part(self) -> Prefixes:
        """Every pair that becomes known while the test part lasts, the test pairs among them."""
        return self._pairs_between(self.parts.known, self.lengths[: self.original])

    def held_out_part(self) -> Prefixes:
        """Every pair of an original sequence that training may not see."""
        return self._pairs_between(self.parts.train, self.lengths[: self.original])

    def _pairs_at(self, place: Array) -> Prefixes:
        owner = np.flatnonzero(place >= 0)
        return Prefixes(self, owner, self.offsets[owner] + place[owner])

    def _pairs_between(self, first: Array, end: Array) -> Prefixes:
        """The pairs whose targets are at the places from ``first`` to before ``end`` ([U] each)."""
        first = np.maximum(first, 1)  # the first item has no history
        counts = np.maximum(end - first, 0)
        owner = np.repeat(np.arange(len(counts)), counts)
        return Prefixes(self, owner, spans(self.offsets[:-1][: len(counts)] + first, counts))


@dataclass(frozen=True)
class Prefixes:
    """R pairs (prefix, target) over ``sequences``, one per row. The prefix is all items before the target.

    Attributes
    ----------
    sequences : the flat arrays that the pairs point into.
    sequence : [R] index of the row's sequence.
    target_at : [R] position of the row's target in ``sequences.items``.
    """

    sequences: Sequences
    sequence: Array
    target_at: Array

    def __len__(self) -> int:
        return len(self.target_at)

    @property
    def users(self) -> Array:
        """[R] user id of each row."""
        return self.sequences.users[self.sequence]

    @property
    def targets(self) -> Array:
        """[R] item to predict."""
        return self.sequences.items[self.target_at]

    @property
    def times(self) -> Array:
        """[R] time of the target in seconds, NaN where it has none."""
        times = self.sequences.times
        return np.full(len(self), np.nan) if times is None else times[self.target_at].astype(np.float64)

    @property
    def lengths(self) -> Array:
        """[R] number of items before the target, not cut to the model's maximum."""
        return self.target_at - self.sequences.offsets[self.sequence]

    def take(self, rows: Array) -> Prefixes:
        """The rows numbered ``rows``, in that order."""
        return Prefixes(self.sequences, self.sequence[rows], self.target_at[rows])

    def windows(self, rows: Array, max_length: int) -> tuple[Array, Array]:
        """Positions of the last ``max_length`` items before each target.

        Returns
        -------
        positions : [B, L] indices into the flat arrays, oldest first, 0 where there is no item.
        real : [B, L] True where there is an item; the padding is on the right, as in RecBole.
        """
        stop = self.target_at[rows]
        start = np.maximum(stop - max_length, self.sequences.offsets[self.sequence[rows]])
        positions = start[:, None] + np.arange(max_length)
        real = positions < stop[:, None]
        return np.where(real, positions, 0), real

    def histories(self, rows: Array) -> tuple[Array, Array]:
        """Every distinct (row, item) where the item occurs before the row's target. Histories are not cut.

        Returns
        -------
        row, item : [H] each; ``row`` counts from 0 within ``rows``.
        """
        length = self.target_at[rows] - self.sequences.offsets[self.sequence[rows]]
        row = np.repeat(np.arange(len(rows)), length)
        item = self.sequences.items[spans(self.target_at[rows] - length, length)]
        span = int(item.max()) + 1 if len(item) else 1
        row, item = np.divmod(np.unique(row * span + item), span)
        return row, item
