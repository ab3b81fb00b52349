"""Histories in the model's numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_raserec.data.histories import Histories, token
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval.names import Names

ON_UNKNOWN = ("raise", "warn", "ignore")
NOBODY = -1  # owner of an anonymous history


@dataclass(frozen=True)
class Request:
    """B histories in numbers.

    Attributes
    ----------
    items : the items of each that the model or the memory knows, oldest first.
    lengths : [B] number of items of each, also of those that nobody knows.
    owners : [B] number of the user, or ``NOBODY``.
    """

    items: list[np.ndarray]
    lengths: np.ndarray
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: np.ndarray) -> Request:
        """The histories numbered ``rows``."""
        return Request([self.items[row] for row in rows], self.lengths[rows], self.owners[rows])


def numbered(given: Histories, items: Names, owners: Names, on_unknown: str) -> Request:
    """The request of ``given``. A user whom nobody knows is nobody.

    Raises
    ------
    DataError : an item is unknown, and ``on_unknown`` is "raise".
    """
    found = [items_of(tokens, items, given.field(row), on_unknown) for row, tokens in enumerate(given.items)]
    known = [None if owner is None else owners.find(owner) for owner in given.owners]
    return Request(
        items=found,
        lengths=np.array([len(tokens) for tokens in given.items], np.int64),
        owners=np.array([NOBODY if number is None else number for number in known], np.int64),
    )


def items_of(
    tokens: Iterable[Any],
    items: Names,
    field: str,
    on_unknown: str = "raise",
    mend: str = 'leave it out, or give on_unknown="warn" or "ignore" to skip such items',
) -> np.ndarray:
    """The numbers of known ``tokens``. What happens to others says ``on_unknown``, one of ``ON_UNKNOWN``."""
    if on_unknown not in ON_UNKNOWN:
        raise ConfigError("on_unknown", on_unknown, "not an allowed value", f"use one of {', '.join(ON_UNKNOWN)}")
    given = [(word, items.find(word)) for word in (token(value, field) for value in tokens)]
    unknown = [word for word, number in given if number is None]
    if unknown and on_unknown != "ignore":
        problem = f"{len(unknown)} unknown items" if len(unknown) > 1 else "an unknown item"
        if on_unknown == "raise":
            raise DataError(field, unknown[0], problem, mend)
        warnings.warn(f"{field}: {problem}, skipped ({unknown[0]!r})", stacklevel=4)
    return np.array([number for _, number in given if number is not None], np.int64)
