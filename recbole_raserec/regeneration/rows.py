"""Generated training rows: patterns and decoded rows, the guard against leaks, and the extended training set."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_raserec.config.checks import PARTS
from recbole_raserec.data.patterns import Patterns
from recbole_raserec.data.sequences import Sequences
from recbole_raserec.regeneration.decoding import Decoded
from recbole_raserec.runtime.ragged import offsets_of, ragged_arange, spans, take

SHORTEST = 2  # a row needs two items for a transition


@dataclass(frozen=True)
class GeneratedRows:
    """Generated training rows. Rows have at least two items, and each part has no repeated rows.

    Attributes
    ----------
    items, offsets : row ``r`` is ``items[offsets[r]:offsets[r + 1]]``.
    part : [R] index into ``PARTS`` of each row.
    owner : [R] index of the source sequence of a decoded row; -1 for patterns.
    """

    items: np.ndarray
    offsets: np.ndarray
    part: np.ndarray
    owner: np.ndarray

    def __len__(self) -> int:
        return len(self.part)

    @property
    def lengths(self) -> np.ndarray:
        """[R] number of items of each row."""
        return np.diff(self.offsets)

    def select(self, kept: np.ndarray) -> GeneratedRows:
        """The rows ``kept`` (numbers or a mask), in that order."""
        rows = np.arange(len(self))[kept]
        items, offsets = take(self.items, self.offsets, rows)
        return GeneratedRows(items, offsets, self.part[rows], self.owner[rows])

    def join(self, other: GeneratedRows) -> GeneratedRows:
        """These rows, then the ``other`` rows."""
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
        """The rows of the named parts."""
        return self.select(np.isin(self.part, [PARTS.index(name) for name in parts]))


def rows_of_patterns(patterns: Patterns) -> GeneratedRows:
    """Patterns as rows. Mined patterns are already distinct and long enough."""
    number = len(patterns)
    return GeneratedRows(
        patterns.items, patterns.offsets, np.full(number, PARTS.index("patterns")), np.full(number, -1)
    )


def rows_of_decoded(decoded: Decoded, sequences: Sequences) -> tuple[GeneratedRows, int]:
    """The decoded rows that training may use, and the number of rows that the guard has cut.

    Parameters
    ----------
    sequences : the original sequences with their held-out items, for :func:`cut_held_out`.
    """
    number = len(decoded.sequence)
    rows = GeneratedRows(
        decoded.items, decoded.offsets, np.full(number, PARTS.index("decoded")), decoded.sequence.astype(np.int64)
    )
    rows, cut = cut_held_out(rows, sequences)
    return without_repeats(rows.select(rows.lengths >= SHORTEST)), cut


def find_leaks(rows: GeneratedRows, sequences: Sequences) -> np.ndarray:
    """Positions of leaks in ``rows.items``.

    A leak is a user's held-out item after the item that it truly follows, at any distance, in a row of the same
    user. The regenerator never saw the held-out items there, so leaks happen only by chance. But they would put
    the user's test answer into the training set.
    """
    held_out, span = sequences.held_out_part(), int(max(rows.items.max(initial=0), sequences.items.max(initial=0))) + 1
    transition = held_out.sequence * span + held_out.targets  # (user, held-out item), and what it follows
    order = np.argsort(transition, kind="stable")
    transition, follows = transition[order], sequences.items[held_out.target_at - 1][order]
    row = np.repeat(np.arange(len(rows)), rows.lengths)
    owned = np.flatnonzero(rows.owner[row] >= 0)
    sought = rows.owner[row[owned]] * span + rows.items[owned]
    first, end = (np.searchsorted(transition, sought, side) for side in ("left", "right"))
    at, follows = np.repeat(owned, end - first), follows[spans(first, end - first)]
    place, places = row * span + rows.items, row[at] * span + follows  # (row, item)
    known, earliest = np.unique(place, return_index=True)
    if not len(known):
        return at
    found = np.minimum(np.searchsorted(known, places), len(known) - 1)
    return np.unique(at[(known[found] == places) & (earliest[found] < at)])


def cut_held_out(rows: GeneratedRows, sequences: Sequences) -> tuple[GeneratedRows, int]:
    """The guard: cut every row before its first leak. Also return the number of rows that were cut."""
    leaks = find_leaks(rows, sequences)
    row = np.searchsorted(rows.offsets, leaks, side="right") - 1
    at_row, first = np.unique(row, return_index=True)
    length = rows.lengths
    length[at_row] = leaks[first] - rows.offsets[at_row]
    at = spans(rows.offsets[:-1], length)
    return dataclasses.replace(rows, items=rows.items[at], offsets=offsets_of(length)), len(at_row)


def without_repeats(rows: GeneratedRows) -> GeneratedRows:
    """Each distinct row once, at its first position."""
    longest = int(rows.lengths.max(initial=0))
    table = np.zeros((len(rows), longest), rows.items.dtype)
    table[np.repeat(np.arange(len(rows)), rows.lengths), ragged_arange(rows.lengths)] = rows.items
    first = np.unique(table, axis=0, return_index=True)[1]
    return rows.select(np.sort(first))


def extend(
    sequences: Sequences, rows: GeneratedRows, parts: Sequence[str], weights: dict[str, float], next_user: int
) -> Sequences:
    """``sequences`` followed by the generated rows of ``parts``, as training sequences of new users.

    Parameters
    ----------
    next_user : number of the first of them, above that of all users, also of those without an interaction.
    parts : names from ``PARTS``. Without "original", the original sequences are only evaluated, not trained on.
    weights : ``{part: weight}`` of the part's pairs in the training loss; the default is 1.
    """
    rows = rows.of_parts(parts)
    own = np.full(len(sequences), weights.get("original", 1.0) if "original" in parts else 0.0)
    theirs = np.array([weights.get(name, 1.0) for name in PARTS])[rows.part]
    return Sequences(
        items=np.concatenate([sequences.items, rows.items.astype(sequences.items.dtype)]),
        offsets=np.r_[sequences.offsets, sequences.offsets[-1] + rows.offsets[1:]],
        users=np.r_[sequences.users, np.arange(next_user, next_user + len(rows))],
        generated=len(rows),
        weights=np.r_[own, theirs].astype(np.float32),
        times=None if sequences.times is None else np.r_[sequences.times, np.full(len(rows.items), np.nan)],
        split=sequences.split,
    )
