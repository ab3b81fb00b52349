"""Checks of atomic files before RecBole reads them, because RecBole's own errors are less clear."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_raserec.errors import DataError


def check_header(filepath: str, separator: str, encoding: str, kinds: Mapping[str, str]) -> None:
    """Raise DataError unless the first line is text with ``field:type`` columns, and each column occurs once.

    The fields in ``kinds`` have the given type if they occur: RecBole counts users and items only if they are tokens.
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
    names = []
    for column in header.split(separator):
        name, colon, kind = column.partition(":")
        if not colon or kind not in {t.value for t in FeatureType}:
            raise DataError(filepath, column, "not a column of the form field:type", mend)
        if kind != kinds.get(name, kind):
            raise DataError(filepath, column, f"this field's type must be {kinds[name]}", f"write {name}:{kinds[name]}")
        names.append(name)
    for name in names:
        if names.count(name) > 1:
            raise DataError(filepath, name, "this column is in the header twice", mend)


def check_no_missing(column: pd.Series, filepath: str) -> None:
    """Raise DataError if ``column`` has an empty, NaN or infinite value. The error names the first such line."""
    bad = column.isna()
    if column.dtype == np.float64:
        bad |= ~np.isfinite(column)
    if bad.any():
        raise DataError(
            f"{filepath} line {int(bad.to_numpy().argmax()) + 2}",
            str(column.name),
            f"missing or not finite ({int(bad.sum())} such lines in all)",
            "correct or remove these lines, or convert the source again with --on_bad_line=skip",
        )
