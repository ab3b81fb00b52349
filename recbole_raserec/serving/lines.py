"""JSON lines in, JSON lines out: recommend, remember and forget for programs and pipes.

A line to ``recommend`` is ``{"history": ["50", "172"], "user": ...}``; the user may be left out. Its answer, in the
same order, is ``{"user": ..., "items": [...], "scores": [...], "reasons": [...], "cold": false}``. Without a user, the
answer has the number of the history, from 0. A line to ``remember`` has ``history`` and ``next_item``, and may have
``owner`` and ``time``. A line to ``forget`` has one of ``owner``, ``item`` and ``added_since``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from recbole_raserec.data.histories import Histories, read_histories
from recbole_raserec.errors import ConfigError, DataError, RaSeRecError
from recbole_raserec.recommender import Recommender
from recbole_raserec.runtime.files import json_line, writing
from recbole_raserec.runtime.text import STANDARD, read_lines
from recbole_raserec.serving.answers import split

_BLOCK = 1024  # lines that are answered at once

Line = tuple[int, dict[str, Any]]  # its number in the file, from 1


def recommend_lines(
    recommender: Recommender, source: str, output: str, show_progress: bool = True, **options: Any
) -> int:
    """Answer the lines of ``source`` one by one into ``output`` (paths, or "-"), and return their number.

    It holds a block of lines at a time. A file is complete or not there.

    Parameters
    ----------
    options : of :meth:`Recommender.recommend`.

    Raises
    ------
    DataError, ConfigError : a line or an option is wrong. The error names the line.
    """
    if STANDARD not in (source, output) and Path(source).resolve() == Path(output).resolve():
        raise ConfigError("output", output, "is the input, which would be lost", "give another file")
    lines, count = _objects(source, {"history", "user"}, {"history"}, show_progress, "recommend"), 0
    with _opened(output) as file:
        while block := list(islice(lines, _BLOCK)):
            for answer in _answers(recommender, block, count, options):
                file.write(json_line(answer) + "\n")
            count += len(block)
            file.flush()
    return count


def remember_lines(recommender: Recommender, source: str, show_progress: bool = True, on_unknown: str = "raise") -> int:
    """Add the memories of all lines in one transaction, or none of them. Return their number."""
    known = {"history", "next_item", "owner", "time"}
    lines = list(_objects(source, known, {"history", "next_item"}, show_progress, "remember"))
    if lines:
        given = read_all(lines, "owner")
        targets, times = ([line.get(name) for _, line in lines] for name in ("next_item", "time"))
        recommender.memory.add_many(given, targets, None, times, on_unknown)
    return len(lines)


def forget_lines(recommender: Recommender, source: str, show_progress: bool = True) -> int:
    """Forget what the lines name, and return how many memories there were. All lines are checked first."""
    selections = []
    for number, line in _objects(source, {"owner", "item", "added_since"}, set(), show_progress, "forget"):
        with _naming(number):
            selections.append(recommender.memory.selection(**line))
    return sum(recommender.memory.forget(**selection) for selection in selections)


def read_all(lines: list[Line], user: str) -> Histories:
    """The histories of lines. DataError names the line of a wrong one."""
    items: list[list[str]] = []
    owners: list[str | None] = []
    for number, line in lines:
        with _naming(number):
            if not isinstance(line["history"], list):
                raise DataError("history", line["history"], "not a list", 'for example {"history": ["50", "172"]}')
            one = read_histories([line["history"]], [line.get(user)], user)
        items += one.items
        owners += one.owners
    return Histories(items, list(range(len(items))), owners, [number for number, _ in lines])


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """Errors in the block name line ``number``."""
    try:
        yield
    except RaSeRecError as error:
        field = error.field.removesuffix(" 0")  # of one history
        raise DataError(f"line {number}: {field}", error.value, error.problem, error.mend) from error


def _answers(recommender: Recommender, block: list[Line], start: int, options: dict[str, Any]) -> Iterator[Any]:
    frame = recommender.recommend(read_all(block, "user"), **options)
    for row, ((_, line), answer) in enumerate(zip(block, split(frame, len(block)))):
        yield {"user": start + row if line.get("user") is None else line["user"], **answer}


def _objects(source: str, known: set[str], needed: set[str], show_progress: bool, label: str) -> Iterator[Line]:
    """The JSON objects of the lines that are not blank."""
    mend = '{"history": ["50", "172"]' + (', "next_item": "181"}' if "next_item" in needed else "}")
    for number, text in read_lines(source, "input", show_progress, label):
        if not text.strip():
            continue
        try:
            line = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise _wrong(source, number, f"not JSON ({error})", mend) from error
        if not isinstance(line, dict):
            raise _wrong(source, number, "not a JSON object", mend)
        if line.keys() - known:
            raise _wrong(source, number, f"unknown name {min(line.keys() - known)!r}", mend)
        if needed - line.keys():
            raise _wrong(source, number, f"it has no {min(needed - line.keys())}", mend)
        yield number, line


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _wrong(source: str, number: int, problem: str, example: str) -> DataError:
    return DataError(f"{source} line {number}", None, problem, f"a line is like {example}")


@contextmanager
def _opened(output: str) -> Iterator[TextIO]:
    """The standard output, or a file that appears when the block has ended without an error."""
    if output == STANDARD:
        yield sys.stdout
        return
    with writing(Path(output)) as raw, TextIOWrapper(raw, "utf-8") as file:
        yield file
