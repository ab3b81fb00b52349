"""What a data set must have before leave-one-out and retrieval make sense."""

from __future__ import annotations

import numpy as np

from recbole_raserec.errors import DataError

MIN_ITEMS = 4  # one to start from, one to train on, one for validation, one for test


def check_splittable(lengths: np.ndarray, source: str) -> int:
    """Raise DataError unless sequences of ``lengths`` [U] can be trained on, validated and tested.

    Returns
    -------
    The number of users with fewer than four items: RecBole trains on them, but holds nothing out
    for validation (nor, below three, for test).
    """
    if len(lengths) == 0:
        raise DataError(source, None, "there is no interaction in it", "give a file that has some")
    if len(lengths) == 1:
        raise DataError(
            source,
            None,
            "there is only one user, so there are no memories of others to retrieve",
            "give at least two users with four items each",
        )
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
