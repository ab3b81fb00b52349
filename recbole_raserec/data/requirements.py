"""What a data set must contain for retrieval and for leave-one-out."""

from __future__ import annotations

import numpy as np

from recbole_raserec.errors import DataError

MIN_ITEMS = 4  # the first prefix and one target each for training, validation and test


def check_splittable(lengths: np.ndarray, source: str) -> int:
    """Raise DataError unless sequences of ``lengths`` [U] are enough for leave-one-out.

    Returns
    -------
    The number of users with fewer than four items. RecBole trains on them, but holds out no item for
    validation. With fewer than three items it also holds out no item for test.
    """
    check_users(lengths, source)
    long_enough = int((lengths >= MIN_ITEMS).sum())
    if long_enough == 0:
        raise DataError(
            source,
            None,
            f"no user has {MIN_ITEMS} items (the longest has {int(lengths.max())}), so leave-one-out "
            "leaves nothing to validate on",
            f"give users with at least {MIN_ITEMS} items",
        )
    return int(len(lengths) - long_enough)


def check_users(lengths: np.ndarray, source: str) -> None:
    """Raise DataError unless there are sequences of two users, ``lengths`` [U]."""
    if len(lengths) == 0:
        raise DataError(source, None, "there is no interaction in it", "give a file that has interactions")
    if len(lengths) == 1:
        raise DataError(
            source,
            None,
            "there is only one user, so there are no memories of others to retrieve",
            "give at least two users with four items each",
        )
