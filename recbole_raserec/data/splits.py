"""Which items of each sequence belong to training, to the validation part and to the test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_raserec.errors import DataError

Array = np.ndarray
BY_TIME = "time"  # the value of the parameter split
_GAPS = 10  # times the longest sequence, within which places lie also after filters
_GAP = 3  # by which filters may move the beginning of most sequences


@dataclass(frozen=True)
class Split:
    """The parts of U sequences. Places count from 0 within a sequence.

    Attributes
    ----------
    train : [U] number of first items that training may see.
    known : [U] number of first items that are known when the test part begins.
    valid, test : [U] place of the part's target; -1 where the sequence has none.
    """

    train: Array
    known: Array
    valid: Array
    test: Array


def leave_one_out(lengths: Array) -> Split:
    """RecBole's LS split of sequences of ``lengths`` [U]: the last item is for the test, the one before validates.

    RecBole splits the n - 1 (prefix, target) pairs of a user and always leaves one for training. With n >= 4 items
    it holds out a validation and a test item, with n = 3 only a test item, with n = 2 nothing.
    """
    return Split(
        train=lengths - np.clip(lengths - 2, 0, 2),
        known=np.where(lengths >= 3, lengths - 1, lengths),
        valid=np.where(lengths >= 4, lengths - 2, -1),
        test=np.where(lengths >= 3, lengths - 1, -1),
    )


def by_time(offsets: Array, times: Array, shares: Sequence[float], source: str) -> Split:
    """A split at two moments that all users share, so that nobody's future is in another's training data.

    The first share of all interactions is for training, the second one for validation, the third one for the test. A
    part has one pair of each user: the first interaction in its time that has a history.

    Parameters
    ----------
    offsets : [U + 1] sequence ``u`` has the interactions ``offsets[u]`` to ``offsets[u + 1] - 1``, oldest first.
    times : [n] seconds of each interaction.
    shares : fractions of the interactions; their sum is 1.

    Raises
    ------
    DataError : there are no moments that users share, or a part is empty.
    """
    lengths = np.diff(offsets)
    place = np.arange(len(times)) - np.repeat(offsets[:-1], lengths)
    if not np.isfinite(times).all() or are_places(offsets, times):
        problem = "split=time needs times, and the timestamps are missing or only number each user's items"
        raise DataError(source, None, problem, "convert data with real times, or use split=leave_one_out")
    ordered = np.sort(times)
    begins = [ordered[min(round(share * len(times)), len(times) - 1)] for share in np.cumsum(shares[:2])]
    ends = np.repeat(lengths, lengths)
    train, known = (np.minimum.reduceat(np.where(times >= begin, place, ends), offsets[:-1]) for begin in begins)
    valid, test = np.maximum(train, 1), np.maximum(known, 1)
    split = Split(train, known, np.where(valid < known, valid, -1), np.where(test < lengths, test, -1))
    _check(split, source)
    return split


def are_places(offsets: Array, times: Array) -> bool:
    """Whether times look like places in a sequence: whole numbers that rise, few left out, and most begin alike.

    A filter of items leaves gaps in such places, also at the beginning of some sequences.
    """
    rising = np.diff(times) > 0
    rising[offsets[1:-1] - 1] = True  # from one sequence to the next
    first = times[offsets[:-1]] - times.min()
    dense = np.ptp(times) < _GAPS * np.diff(offsets).max()
    return bool(dense and rising.all() and (times == np.floor(times)).all() and np.median(first) <= _GAP)


def _check(split: Split, source: str) -> None:
    counts = {
        "training": int(np.maximum(split.train - 1, 0).sum()),
        "validation": int((split.valid >= 0).sum()),
        "test": int((split.test >= 0).sum()),
    }
    for part, count in counts.items():
        if not count:
            problem = f"split=time leaves no pair for {part}"
            raise DataError(source, None, problem, "give other time_shares, or use split=leave_one_out")
