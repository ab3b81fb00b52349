"""The text formats that can be converted. Each reader turns numbered lines into rows of the wanted values."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter

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
    records = _Records(chain([first], lines), delimiter)
    number, names = next(iter(records))
    if isinstance(names, BadLineError):
        mend = "the first line names the columns, and lines end with a line feed"
        raise DataError(f"{where} line {number}", None, f"the header cannot be read: {names}", mend)
    names = [name.strip() for name in names]
    places = positions(columns, names, where)
    single = [place for place, column in zip(places, columns) if column.what != "title"]
    yield from _picked(records, places, len(names), single)


def amazon_csv_rows(lines: Lines, delimiter: str) -> Rows:
    """(user, item, time) for lines ``user,item,rating,timestamp`` without a header."""
    yield from _picked(_Records(lines, delimiter), [0, 1, 3], 4, [0, 1, 3])


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


def _picked(records: _Records, places: list[int], width: int, single: list[int]) -> Rows:
    """The values at ``places`` of each record. A record is bad if a field in ``single`` goes over several lines."""
    pick = itemgetter(*places)
    for number, values in records:
        if isinstance(values, BadLineError):
            yield number, values
        elif len(values) != width:
            records.put_back()
            yield number, BadLineError(f"it has {len(values)} fields, not {width}")
        elif records.is_long and any("\n" in values[place] for place in single):
            records.put_back()
            yield number, BadLineError("a quotation mark opens a name or time that goes over several lines")
        else:
            yield number, pick(values)


class _Records:
    """The fields of each record with the number of its first line. A quoted field may go over several lines.

    If a record is bad, reading goes on at the line after its first. So a stray quotation mark hides no line.
    """

    def __init__(self, lines: Iterable[tuple[int, str]], delimiter: str) -> None:
        self._fresh = iter(lines)
        self._again: deque[tuple[int, str]] = deque()
        self._further: list[tuple[int, str]] = []  # the lines of the latest record after its first
        self._delimiter = delimiter

    @property
    def is_long(self) -> bool:
        """Whether the latest record has several lines."""
        return bool(self._further)

    def put_back(self) -> None:
        """Read the lines of the latest record again, without its first."""
        self._again.extendleft(reversed(self._further))
        self._further = []

    def __iter__(self) -> Iterator[tuple[int, list[str] | BadLineError]]:
        while (numbered := self._next_line()) is not None:
            number, line = numbered
            self._further = []
            if not line.strip():
                continue
            if '"' not in line and "\r" not in line:  # the same as below, and faster
                yield number, line.split(self._delimiter)
            else:
                yield number, self._quoted(line)

    def _quoted(self, line: str) -> list[str] | BadLineError:
        try:
            return next(csv.reader(self._from(line), delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            self.put_back()
            return BadLineError(_csv_problem(str(error)))

    def _from(self, line: str) -> Iterator[str]:
        """``line``, then the lines after it, as far as the record goes."""
        yield f"{line}\n"
        while (numbered := self._next_line()) is not None:
            self._further.append(numbered)
            yield f"{numbered[1]}\n"

    def _next_line(self) -> tuple[int, str] | None:
        return self._again.popleft() if self._again else next(self._fresh, None)


def _csv_problem(message: str) -> str:
    if message.startswith("new-line"):
        return "it has a carriage return in the middle"
    if "field limit" in message or "unexpected end" in message:
        return "a quotation mark opens a field that does not end"
    return f"its quotation marks are not in pairs ({message})"
