"""The text formats that can be converted. A parser turns one line into its interactions."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable

from recbole_raserec.errors import DataError

LARGEST_ID = 2**31 - 1

Event = tuple[str, str, float]  # user, item, time
Parser = Callable[[str], list[Event]]

# Names that pandas, and therefore RecBole, reads as a missing value.
_MISSING = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
}  # fmt: skip
_CSV_NAMES = {
    "user": ("user_id", "user", "userId", "reviewerID"),
    "item": ("item_id", "item", "itemId", "asin", "parent_asin"),
    "time": ("timestamp", "time", "unixReviewTime"),
}


class BadLineError(ValueError):
    """A line cannot be read. The message says why."""


def parser_of(data_format: str, first_line: str) -> tuple[Parser, bool]:
    """The parser of a format, and whether the first line is a header."""
    if data_format == "sequences":
        return _sequences(), False
    if data_format == "csv":
        return _csv(first_line), True
    if data_format == "amazon-csv":
        return lambda line: [_event(*_fields(line, 4, (0, 1, 3)))], False
    if data_format == "amazon-json":
        return _json, False
    raise ValueError(data_format)


def _sequences() -> Parser:
    seen: set[str] = set()

    def parse(line: str) -> list[Event]:
        user, *items = (_whole_number(word) for word in line.split())
        if not items:
            raise BadLineError(f"user {user} has no item")
        if user in seen:
            raise BadLineError(f"user {user} had a line before; each user may have only one line")
        seen.add(user)
        return [(user, item, position) for position, item in enumerate(items)]

    return parse


def _whole_number(word: str) -> str:
    if not (word.isascii() and word.isdigit()):
        raise BadLineError(f"{word!r} is not a whole number; for names use --format=csv")
    if not 1 <= int(word) <= LARGEST_ID:
        raise BadLineError(f"id {word} is not in 1 .. 2^31 - 1; renumber the ids, or use --format=csv")
    return str(int(word))


def _csv(header: str) -> Parser:
    delimiter = "\t" if "\t" in header and "," not in header else ","
    names = [name.strip().partition(":")[0] for name in next(csv.reader([header], delimiter=delimiter))]
    for name in names:
        if names.count(name) > 1:
            raise DataError("header", name, "this column occurs twice", "rename or remove one of them")
    columns = []
    for what, known in _CSV_NAMES.items():
        found = [names.index(name) for name in known if name in names]
        if not found:
            mend = f"name one {' or '.join(known)} in the first line"
            raise DataError("header", header[:80], f"there is no column for the {what}", mend)
        columns.append(found[0])
    return lambda line: [_event(*_fields(line, len(names), tuple(columns), delimiter))]


def _fields(line: str, width: int, columns: tuple[int, ...], delimiter: str = ",") -> list[str]:
    values = next(csv.reader([line], delimiter=delimiter))
    if len(values) != width:
        raise BadLineError(f"it has {len(values)} fields, not {width}")
    return [values[column] for column in columns]


def _json(line: str) -> list[Event]:
    try:
        review = json.loads(line)
    except ValueError as error:
        raise BadLineError(f"not JSON ({error})") from error
    if not isinstance(review, dict):
        raise BadLineError("not a JSON object")
    values = []
    for what, known in _CSV_NAMES.items():
        found = [review[name] for name in known if name in review]
        if not found:
            raise BadLineError(f"no {what}: none of {', '.join(known)}")
        values.append(str(found[0]))
    return [_event(*values)]


def _event(user: str, item: str, time: str) -> Event:
    user, item = user.strip(), item.strip()
    for what, name in (("user", user), ("item", item)):
        if name in _MISSING or "\t" in name:
            raise BadLineError(f"the {what} is {name!r}")
    try:
        seconds = float(time)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BadLineError(f"the time {time!r} is not a number of seconds")
    return user, item, seconds
