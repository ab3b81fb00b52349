"""The text formats that can be converted. Each reader turns numbered lines into rows of the wanted values."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Union

from recbole_raserec.data.columns import Column, count_found, listed, missing_name, positions
from recbole_raserec.data.rows import BadLineError, Rows
from recbole_raserec.errors import DataError

LARGEST_ID = 2**31 - 1
DELIMITERS = (",", "\t", ";", "|")

Lines = Iterator[tuple[int, str]]  # with their numbers; blank lines too


def sequence_rows(lines: Lines) -> Rows:
    """(user, item, position) for lines ``user item item ...``, oldest item first, ids from 1."""
    seen: set[str] = set()
    for number, line in lines:
        if not line.strip():
            continue
        try:
            user, *items = (_whole_number(word) for word in line.split())
            if not items:
                raise BadLineError(f"user {user} has no item")
            if user in seen:
                raise BadLineError(f"user {user} had a line before; each user may have only one line")
        except BadLineError as error:
            yield number, error
            continue
        seen.add(user)
        for position, item in enumerate(items):
            yield number, (user, item, position)


def _whole_number(word: str) -> str:
    if not (word.isascii() and word.isdigit()):
        raise BadLineError(f"{word!r} is not a whole number; for names use --format=csv")
    if len(word) > 99 or not 1 <= int(word) <= LARGEST_ID:
        raise BadLineError(f"id {word[:99]} is not in 1 .. 2^31 - 1; renumber the ids, or use --format=csv")
    return str(int(word))


def csv_rows(lines: Lines, columns: Sequence[Column], delimiters: Sequence[str], where: str) -> Rows:
    """The values of ``columns`` in a CSV file with a header. The header decides between the ``delimiters``.

    A quoted field may go over several lines. Its row has the number of the first of them.

    Raises
    ------
    DataError : the header is malformed, or it lacks a column.
    """
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return
    delimiter = _delimiter_of(first[1], columns, delimiters)
    records = _records(chain([first], lines), delimiter)
    number, names = next(records)
    if isinstance(names, BadLineError):
        mend = "the first line names the columns, and lines end with a line feed"
        raise DataError(f"{where} line {number}", None, f"the header cannot be read: {names}", mend)
    names = [name.strip() for name in names]
    yield from _picked(records, positions(columns, names, where), len(names))


def amazon_csv_rows(lines: Lines, delimiter: str) -> Rows:
    """(user, item, time) for lines ``user,item,rating,timestamp`` without a header."""
    yield from _picked(_records(lines, delimiter), [0, 1, 3], 4)


def json_rows(lines: Lines, columns: Sequence[Column]) -> Rows:
    """The values of ``columns`` in lines that each hold a JSON object."""
    for number, line in lines:
        if line.strip():
            try:
                yield number, _json_values(line, columns)
            except BadLineError as error:
                yield number, error


def _json_values(line: str, columns: Sequence[Column]) -> tuple[object, ...]:
    try:
        content = json.loads(line)
    except RecursionError as error:
        raise BadLineError("not JSON (nested too deeply)") from error
    except ValueError as error:
        raise BadLineError(f"not JSON ({error}); each line must hold one object") from error
    if not isinstance(content, dict):
        raise BadLineError("not a JSON object; each line must hold one")
    values = []
    for column in columns:
        for name in column.names:
            if name in content:
                values.append(content[name])
                break
        else:
            raise _no_field(column, list(content))
    return tuple(values)


def _no_field(column: Column, names: list[str]) -> BadLineError:
    if not column.given:
        return BadLineError(f"no {column.what}: none of {', '.join(column.known)}")
    there = f"the line has {listed(names)}; {missing_name(column.given, names)}"
    return BadLineError(f"there is no {column.what} {column.given!r}: {there}")


def _delimiter_of(header: str, columns: Sequence[Column], delimiters: Sequence[str]) -> str:
    """The delimiter that shows the most of the wanted columns, then the most columns. Ties take the first one."""

    def shown(delimiter: str) -> tuple[int, int]:
        names = [name.strip() for name in header.replace('"', "").split(delimiter)]
        return count_found(columns, names), len(names)

    return max(delimiters, key=shown)


Records = Iterator[tuple[int, Union[list[str], BadLineError]]]


def _picked(records: Records, places: list[int], width: int) -> Rows:
    pick = itemgetter(*places)
    for number, values in records:
        if isinstance(values, BadLineError):
            yield number, values
        elif len(values) != width:
            yield number, BadLineError(f"it has {len(values)} fields, not {width}")
        else:
            yield number, pick(values)


def _records(lines: Iterable[tuple[int, str]], delimiter: str) -> Records:
    """The fields of each record. After a record with broken quotes, reading goes on at the line after its first."""
    fresh = iter(lines)
    again: deque[tuple[int, str]] = deque()
    while (numbered := again.popleft() if again else next(fresh, None)) is not None:
        number, line = numbered
        if not line.strip():
            continue
        if '"' not in line and "\r" not in line:  # the same as below, and faster
            yield number, line.split(delimiter)
            continue
        further: list[tuple[int, str]] = []
        try:
            values = next(csv.reader(_ahead(line, again, fresh, further), delimiter=delimiter, strict=True))
        except csv.Error as error:
            again.extendleft(reversed(further))
            yield number, BadLineError(_csv_problem(str(error)))
            continue
        yield number, values


def _ahead(line: str, again: deque[tuple[int, str]], fresh: Lines, further: list[tuple[int, str]]) -> Iterator[str]:
    """``line``, then the lines after it. Each of those is also appended to ``further``."""
    yield f"{line}\n"
    while (numbered := again.popleft() if again else next(fresh, None)) is not None:
        further.append(numbered)
        yield f"{numbered[1]}\n"


def _csv_problem(message: str) -> str:
    if message.startswith("new-line"):
        return "it has a carriage return in the middle"
    if "field limit" in message or "unexpected end" in message:
        return "a quotation mark opens a field that does not end"
    return f"its quotation marks are not in pairs ({message})"
