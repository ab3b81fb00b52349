"""Atomic files: checks before RecBole reads them, because its errors are less clear, and a fast reader of columns."""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_raserec.errors import DataError


def read_header(filepath: str, separator: str, encoding: str, kinds: Mapping[str, str]) -> dict[str, FeatureType]:
    """The fields of the first line and their types.

    Raises
    ------
    DataError : the line is not text with ``field:type`` columns, a column occurs twice, or a field in ``kinds`` has
        another type than that. RecBole counts users and items only if they are tokens.
    """
    mend = "the first line of an atomic file is like user_id:token<TAB>item_id:token<TAB>timestamp:float"
    try:
        with open(filepath, encoding=encoding) as file:
            header = file.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(filepath, None, f"not a text file in {encoding}", mend) from error
    if "\0" in header:
        raise DataError(filepath, None, "a binary file", mend)
    if not header.strip():
        raise DataError(filepath, None, "the file is empty", mend)
    fields: dict[str, FeatureType] = {}
    for column in header.split(separator):
        name, colon, kind = column.partition(":")
        if not colon or kind not in {t.value for t in FeatureType}:
            raise DataError(filepath, column, "not a column of the form field:type", mend)
        if kind != kinds.get(name, kind):
            raise DataError(filepath, column, f"this field's type must be {kinds[name]}", f"write {name}:{kinds[name]}")
        if name in fields:
            raise DataError(filepath, name, "this column is in the header twice", mend)
        fields[name] = FeatureType(kind)
    return fields


def read_columns(filepath: str, separator: str, encoding: str, kinds: Mapping[str, FeatureType]) -> pd.DataFrame:
    """The columns of ``kinds``, tokens as text, by pandas' C parser.

    Raises
    ------
    DataError : a line cannot be read, or there is none.
    """
    names = [f"{field}:{kind.value}" for field, kind in kinds.items()]
    types = {name: np.float64 if kind == FeatureType.FLOAT else str for name, kind in zip(names, kinds.values())}
    try:
        frame = pd.read_csv(filepath, sep=separator, encoding=encoding, usecols=names, dtype=types)
    except (ValueError, pd.errors.ParserError) as error:
        mend = "correct or remove that line, or convert the source again"
        raise DataError(filepath, None, str(error).strip(), mend) from error
    if frame.empty:
        raise DataError(filepath, None, "there is no interaction in it", "convert a file that has interactions")
    frame.columns = list(kinds)  # read in the order of the file
    return frame


def check_lines(rows: int, filepath: str, separator: str, encoding: str) -> None:
    """Raise DataError if the file has another number of lines of data than ``rows``, because of a quotation mark."""
    with open(filepath, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b'"') < 0:
            return
    with open(filepath, encoding=encoding) as text:
        lines = sum(1 for _ in _with_data(text, separator)) - 1  # without the header
    if lines != rows:
        problem = f'{lines:,} lines give {rows:,} rows: a token begins with ", and ends at the next one in another line'
        raise DataError(filepath, None, problem, "remove these quotation marks, or convert the source again")


def check_no_missing(column: pd.Series, filepath: str, separator: str, encoding: str) -> None:
    """Raise DataError if ``column`` has an empty, NaN or infinite value. The error names the first such line."""
    bad = column.isna()
    if column.dtype == np.float64:
        bad |= ~np.isfinite(column)
    if bad.any():
        raise DataError(
            f"{filepath} line {_line_of(int(bad.to_numpy().argmax()), filepath, separator, encoding)}",
            str(column.name),
            f"missing or not finite ({int(bad.sum())} such lines in all)",
            "correct or remove these lines, or convert the source again with --on_bad_line=skip",
        )


def _line_of(row: int, filepath: str, separator: str, encoding: str) -> int:
    """Number in the file, from 1, of the line of data row ``row``, from 0. pandas skips blank lines."""
    with open(filepath, encoding=encoding) as file:
        return next(itertools.islice(_with_data(file, separator), row + 1, None))  # the first one is the header


def _with_data(file: Iterable[str], separator: str) -> Iterator[int]:
    """The numbers, from 1, of the lines that pandas reads: all that are not blank."""
    return (number for number, line in enumerate(file, 1) if line.strip(" \t\r\n") or separator in line)
