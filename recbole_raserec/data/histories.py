"""Histories as people hand them over: lists of item tokens, or a frame of users and items."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_raserec.data.columns import KNOWN_NAMES
from recbole_raserec.data.rows import BadLineError
from recbole_raserec.data.times import Times
from recbole_raserec.errors import DataError

_LARGEST = 2.0**53  # beyond it, numbers with a point have lost their last digits
LONGEST = 100_000  # items of a history; a longer one is a column of many users, given by mistake


@dataclass(frozen=True)
class Histories:
    """B histories.

    Attributes
    ----------
    items : the tokens of each, oldest first.
    users : the name of each in the answer: what the caller gave, or the numbers 0, 1, ...
    owners : the token of the user of each; None where the caller named nobody.
    lines : the line of a file that each stands in; None if they are of no file.
    """

    items: list[list[str]]
    users: list[Any]
    owners: list[str | None]
    lines: list[int] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def field(self, number: int, what: str = "history") -> str:
        """What an error calls a part of history ``number``."""
        return f"{what} {number}" if self.lines is None else f"line {self.lines[number]}: {what}"


def read_histories(histories: Any, users: Sequence[Any] | None = None, called: str = "user") -> Histories:
    """Check and read histories.

    Parameters
    ----------
    histories : a list of histories, each a list of item tokens (texts or whole numbers), oldest first; or one such
        history; or a pandas or Arrow frame with the columns user, item and, if its rows are not in order, timestamp.
    users : the user of each history; of a frame its own users count.
    called : what errors call one of ``users``.

    Raises
    ------
    DataError : it is none of these, or a token is no token.
    """
    if isinstance(histories, Histories):
        return histories
    if hasattr(histories, "to_pandas"):
        histories = histories.to_pandas()
    if isinstance(histories, pd.DataFrame):
        if users is not None:
            mend = f"leave {called}s out, or give lists"
            raise DataError(f"{called}s", None, "given beside a frame, which names its users itself", mend)
        return _of_frame(histories)
    rows = [_tokens(row, number) for number, row in enumerate(_rows(histories))]
    if users is None:
        return Histories(rows, list(range(len(rows))), [None] * len(rows))
    names = list(users) if isinstance(users, Iterable) and not isinstance(users, (str, bytes)) else [users]
    if len(names) != len(rows):
        problem = f"{len(names)} of them for {len(rows)} histories"
        raise DataError(f"{called}s", None, problem, "give one for each history, or None for nobody")
    fields = [called] if len(names) == 1 else [f"{called} {number}" for number in range(len(names))]
    owners = [None if name is None else token(name, field) for name, field in zip(names, fields)]
    return Histories(rows, names, owners)


def token(value: Any, field: str) -> str:
    """A token as text: whole numbers are written without a point. Raise DataError if it is none."""
    if isinstance(value, str) and value:
        if not value.isascii():
            _check_unicode(value, field)
        return value
    if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_)):
        return str(int(value))
    problem = "an empty token" if isinstance(value, str) else f"{type(value).__name__} is not a token"
    raise DataError(field, value, problem, "give texts or whole numbers, as in the data that the model was trained on")


def _check_unicode(value: str, field: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(field, value, "not valid Unicode", "give a text without lone surrogates") from error


def _rows(histories: Any) -> list[Any]:
    if isinstance(histories, (str, bytes, dict)) or not isinstance(histories, Iterable):
        problem = f"is of type {type(histories).__name__}"
        raise DataError("histories", histories, problem, "give a list of lists of item tokens, or a frame")
    rows = list(histories)
    one = rows and all(isinstance(row, (str, numbers.Integral)) for row in rows)
    return [rows] if one else rows


def _tokens(row: Any, number: int) -> list[str]:
    field = f"history {number}"
    if isinstance(row, (str, bytes, dict)) or not isinstance(row, Iterable):
        raise DataError(field, row, f"is of type {type(row).__name__}", "give a list of item tokens")
    items = row if isinstance(row, list) else list(row)
    _check_length(field, len(items))
    return [token(item, field) for item in items]


def _check_length(field: str, length: int) -> None:
    if length > LONGEST:
        problem = f"it has {length:,} items, and a history has at most {LONGEST:,}"
        raise DataError(field, None, problem, "give each user's items as a list of their own")


def _of_frame(frame: pd.DataFrame) -> Histories:
    """The histories of a frame, a user each, in the order in which the users first occur."""
    user, item = (_column(frame, what) for what in ("user", "item"))
    time = _column(frame, "time", needed=False)
    if time is not None:
        bad = frame[time].isna()
        if bad.any():
            raise DataError(f"row {int(bad.to_numpy().argmax())}", None, f"{time} is missing", "give each row a time")
    order = {name: number for number, name in enumerate(_whole(frame[user]).drop_duplicates().tolist())}
    owners: list[str | None] = [token(name, str(user)) for name in order]
    if time is not None:
        times = frame[time] if frame[time].dtype.kind in "iufMm" else pd.Series(_read(frame[time]), frame.index)
        frame = frame.loc[:, [user, item]].iloc[times.reset_index(drop=True).sort_values(kind="stable").index]
    items: list[list[str]] = [[] for _ in order]
    for name, value in zip(_whole(frame[user]).tolist(), _whole(frame[item]).tolist()):
        items[order[name]].append(token(value, str(item)))
    for name, history in zip(owners, items):
        _check_length(f"history of {name}", len(history))
    return Histories(items, list(order), owners)


def _read(column: pd.Series) -> np.ndarray:
    """The times [R] of a column of texts or objects, of which none is missing, as numbers that are in their order."""
    times = Times()
    for row, value in enumerate(column.tolist()):
        try:
            times.append(value)
        except BadLineError as error:
            raise DataError(f"row {row}", None, str(error), "give each row a time") from error
    return times.raw()


def _column(frame: pd.DataFrame, what: str, needed: bool = True) -> Any:
    found = [name for name in KNOWN_NAMES[what] if name in frame.columns]
    if found and list(frame.columns).count(found[0]) > 1:
        raise DataError("histories", found[0], "two columns have this name", "rename one of them")
    if not found and needed:
        there = ", ".join(map(str, frame.columns))
        raise DataError("histories", None, f"the frame has no column {what} (it has {there})", "rename its column")
    return found[0] if found else None


def _whole(column: pd.Series) -> pd.Series:
    """Numbers with a point that are whole (a missing value elsewhere makes pandas write them so) as integers."""
    if column.dtype.kind == "f" and not column.isna().any():
        numbers_ = column.to_numpy(np.float64)
        if (numbers_ == numbers_.round()).all() and (np.abs(numbers_) < _LARGEST).all():
            return column.astype("int64")
    return column
