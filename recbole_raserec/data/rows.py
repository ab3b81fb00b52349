"""Rows of a source of data, and what happens to the bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Union

from recbole_raserec.errors import DataError


class BadLineError(ValueError):
    """A line or row cannot be read. The message says why."""


# The number of a line or row, and its wanted values or the reason why it is bad.
Rows = Iterator[tuple[int, Union[tuple[Any, ...], BadLineError]]]


@dataclass(frozen=True)
class Source:
    """The rows of a file or frame, and how to name one of them: ``in.csv line 7``, ``the frame row 6``."""

    name: str
    unit: str
    rows: Rows


@dataclass
class BadLines:
    """The number of bad lines, and the first of them with its reason."""

    count: int = 0
    first: str = ""

    def __str__(self) -> str:
        return f"{self.count} bad lines, the first is {self.first}" if self.count else ""


def consume(source: Source, take: Callable[..., None], skip: bool) -> BadLines:
    """Give the values of each row to ``take``. A row is bad if ``take`` raises BadLineError.

    Raises
    ------
    DataError : a row is bad and ``skip`` is false.
    """
    bad = BadLines()
    for number, row in source.rows:
        try:
            if isinstance(row, BadLineError):
                raise row
            take(*row)
        except BadLineError as error:
            where = f"{source.name} {source.unit} {number}"
            if not skip:
                mend = "correct it, or leave bad lines out with --on_bad_line=skip"
                raise DataError(where, None, str(error), mend) from error
            bad.count += 1
            bad.first = bad.first or f"{where}: {error}"
    return bad
