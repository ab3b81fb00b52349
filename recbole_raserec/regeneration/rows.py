"""What regeneration adds to the training set: patterns and decoded rows, cleaned, and how they join it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_raserec.config.checks import PARTS
from recbole_raserec.data.patterns import Patterns
from recbole_raserec.data.ragged import offsets_of, ragged_arange, spans, take
from recbole_raserec.data.sequences import Sequences
from recbole_raserec.regeneration.decoding import Decoded

SHORTEST = 2  # items of a row that teaches a transition


@dataclass(frozen=True)
class GeneratedRows:
    """Generated training rows, each part without repeats and of two items or more.

    Attributes
    ----------
    items, offsets : row ``r`` is ``items[offsets[r]:offsets[r + 1]]``.
    part : [R] index into ``PARTS`` of each row.
    owner : [R] index of the sequence a row was decoded from; -1 for patterns.
    """

    items: np.ndarray
    offsets: np.ndarray
    part: np.ndarray
    owner: np.ndarray

    def __len__(self) -> int:
        return len(self.part)

    @property
    def lengths(self) -> np.ndarray:
        """[R] items of each row."""
        return np.diff(self.offsets)

    def select(self, kept: np.ndarray) -> GeneratedRows:
        """The rows ``kept`` (numbers or a mask), in that order."""
        rows = np.arange(len(self))[kept]
        items, offsets = take(self.items, self.offsets, rows)
        return GeneratedRows(items, offsets, self.part[rows], self.owner[rows])

    def join(self, other: GeneratedRows) -> GeneratedRows:
        """Both, these first."""
        columns = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("part", "owner"))
        offsets = np.r_[self.offsets, self.offsets[-1] + other.offsets[1:]]
        return GeneratedRows(np.concatenate([self.items, other.items]), offsets, *columns)

    def digest(self) -> str:
        """SHA-256 of the rows, their parts and their owners."""
        whole = hashlib.sha256()
        for column in (self.items, self.offsets, self.part, self.owner):
            whole.update(np.ascontiguousarray(column, np.int64).tobytes())
        return whole.hexdigest()

    def of_parts(self, parts: Sequence[str]) -> GeneratedRows:
        """Those of the named parts."""
        return self.select(np.isin(self.part, [PARTS.index(name) for name in parts]))


def rows_of_patterns(patterns: Patterns) -> GeneratedRows:
    """Patterns as rows; they are distinct and long enough as mined."""
    number = len(patterns)
    return GeneratedRows(
        patterns.items, patterns.offsets, np.full(number, PARTS.index("patterns")), np.full(number, -1)
    )


def rows_of_decoded(decoded: Decoded, sequences: Sequences) -> tuple[GeneratedRows, int]:
    """Decoded rows that may be trained on, and how many were cut by the guard.

    Parameters
    ----------
    sequences : the original ones with their held-out items, which :func:`cut_held_out` compares with.
    """
    number = len(decoded.sequence)
    rows = GeneratedRows(
        decoded.items, decoded.offsets, np.full(number, PARTS.index("decoded")), decoded.sequence.astype(np.int64)
    )
    rows, cut = cut_held_out(rows, sequences)
    return without_repeats(rows.select(rows.lengths >= SHORTEST)), cut


def held_out_transitions(sequences: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Validation and test transitions: sequence number, item before, held-out item ([H] each)."""
    length = sequences.train_lengths()[: sequences.original]
    held_out = sequences.lengths[: sequences.original] - length
    owner = np.repeat(np.arange(sequences.original), held_out)
    at = spans(sequences.offsets[: sequences.original] + length, held_out)
    return owner, sequences.items[at - 1], sequences.items[at]


def find_leaks(rows: GeneratedRows, sequences: Sequences) -> np.ndarray:
    """Positions in ``rows.items`` where a user's held-out item follows, near or far, the item it truly follows.

    Only a user's own rows are looked at. The regenerator never saw those items in their place, so
    this happens by chance; it would still put the answer to a user's own question in training.
    """
    users, before, after = held_out_transitions(sequences)
    first = np.searchsorted(users, np.arange(sequences.original + 1))  # transitions of u: first[u] to first[u + 1]
    owner = rows.owner[np.repeat(np.arange(len(rows)), rows.lengths)]
    leak = np.zeros(len(rows.items), bool)
    for nth in range(int(np.diff(first).max(initial=0))):
        has = np.flatnonzero((owner >= 0) & (first[owner] + nth < first[owner + 1]))
        transition = first[owner[has]] + nth
        came = np.zeros(len(rows.items) + 1, np.int64)
        came[has + 1] = rows.items[has] == before[transition]
        came = np.cumsum(came)  # occurrences before each position, over all rows
        here = came[:-1] - np.repeat(came[rows.offsets[:-1]], rows.lengths)  # ... of this row
        leak[has] |= (rows.items[has] == after[transition]) & (here[has] > 0)
    return np.flatnonzero(leak)


def cut_held_out(rows: GeneratedRows, sequences: Sequences) -> tuple[GeneratedRows, int]:
    """The guard: every row ends before its first leak; also the number of rows that were cut."""
    leaks = find_leaks(rows, sequences)
    row = np.searchsorted(rows.offsets, leaks, side="right") - 1
    at_row, first = np.unique(row, return_index=True)
    length = rows.lengths
    length[at_row] = leaks[first] - rows.offsets[at_row]
    at = spans(rows.offsets[:-1], length)
    return dataclasses.replace(rows, items=rows.items[at], offsets=offsets_of(length)), len(at_row)


def without_repeats(rows: GeneratedRows) -> GeneratedRows:
    """Each distinct row once: the first of its like."""
    longest = int(rows.lengths.max(initial=0))
    table = np.zeros((len(rows), longest), rows.items.dtype)
    table[np.repeat(np.arange(len(rows)), rows.lengths), ragged_arange(rows.lengths)] = rows.items
    first = np.unique(table, axis=0, return_index=True)[1]
    return rows.select(np.sort(first))


def extend(sequences: Sequences, rows: GeneratedRows, parts: Sequence[str], weights: dict[str, float]) -> Sequences:
    """``sequences`` with the generated rows of ``parts`` behind them, as training sequences of users of their own.

    Parameters
    ----------
    parts : names from ``PARTS``; without "original" the original sequences are evaluated, not trained on.
    weights : ``{part: weight}`` of a pair of that part in the training loss; 1 where it is not named.
    """
    rows = rows.of_parts(parts)
    own = np.full(len(sequences), weights.get("original", 1.0) if "original" in parts else 0.0)
    theirs = np.array([weights.get(name, 1.0) for name in PARTS])[rows.part]
    next_user = int(sequences.users.max(initial=0)) + 1
    return Sequences(
        items=np.concatenate([sequences.items, rows.items.astype(sequences.items.dtype)]),
        offsets=np.r_[sequences.offsets, sequences.offsets[-1] + rows.offsets[1:]],
        users=np.r_[sequences.users, np.arange(next_user, next_user + len(rows))],
        generated=len(rows),
        weights=np.r_[own, theirs].astype(np.float32),
    )
