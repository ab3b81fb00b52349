"""Opening of a source by its format: a text file, a Parquet file, a pandas frame or an Arrow table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from recbole_raserec.data.columns import Column
from recbole_raserec.data.formats import DELIMITERS, amazon_csv_rows, csv_rows, json_rows, sequence_rows
from recbole_raserec.data.rows import Rows, Source
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.runtime.text import read_lines

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    Readable = Union[str, os.PathLike[str], pd.DataFrame, pa.Table]

FORMATS = ("auto", "sequences", "csv", "json", "parquet", "amazon-csv", "amazon-json")
FRAME = "frame"  # the format of pandas frames and Arrow tables
_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_WITHOUT_NAMES = ("sequences", "amazon-csv")
_WITH_DELIMITER = ("csv", "amazon-csv")


def format_of(source: Readable, data_format: str, field: str) -> str:
    """The format of a source. ``auto`` stands for that of the file's name. ``field`` is named in errors.

    Raises
    ------
    ConfigError : the format is unknown, the file's name does not decide, or the source is of an unknown type.
    """
    if data_format not in FORMATS:
        raise ConfigError("format", data_format, "unknown format", f"use one of {', '.join(FORMATS)}")
    if not isinstance(source, (str, os.PathLike)):
        return _frame_format(source, data_format, field)
    if data_format != "auto":
        return data_format
    path = Path(source)
    suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    found = _BY_SUFFIX.get(suffix.lower())
    if found is None:
        problem = "the file's name does not tell its format"
        names = ", ".join(FORMATS[1:])
        raise ConfigError(field, str(source), problem, f"give --format ({names}), or a name such as data.csv")
    return found


def check_options(data_format: str, columns: Sequence[Column], delimiter: str | None) -> None:
    """Raise ConfigError if the names of columns or the delimiter have no meaning in ``data_format``."""
    for column in columns:
        if column.given and data_format in _WITHOUT_NAMES:
            problem = f"the format {data_format} has no named columns"
            raise ConfigError(column.what, column.given, problem, "leave it out, or use --format=csv")
    if delimiter is None:
        return
    if len(delimiter) != 1 or delimiter in '"\r\n':
        mend = "for example --delimiter=';' or --delimiter='\\t'"
        raise ConfigError("delimiter", delimiter, "not one character between fields", mend)
    if data_format not in _WITH_DELIMITER:
        problem = f"the format {data_format} has no delimiter"
        raise ConfigError("delimiter", delimiter, problem, "leave it out, or use --format=csv")


def open_source(
    source: Readable,
    data_format: str,
    columns: Sequence[Column],
    delimiters: Sequence[str] = DELIMITERS,
    field: str = "input",
    show_progress: bool = False,
) -> Source:
    """The rows of ``source``, each with the values of ``columns``.

    Parameters
    ----------
    data_format : as from :func:`format_of`. ``sequences`` and ``amazon-csv`` give user, item and time in any case.
    delimiters : what may stand between the fields of a CSV file.
    field : the name of the source's parameter, for errors.

    Raises
    ------
    DataError : there is no such file. The rows raise it too, if the file is damaged or lacks a column.
    """
    if data_format == FRAME:
        return Source(f"the {field}", "row", _frame_rows(source, columns, f"the {field}"))
    path = Path(source)  # type: ignore[arg-type]  # format_of has told that it is one
    if not path.is_file():
        raise DataError(field, str(path), "there is no such file", "give the path of a text file or a Parquet file")
    if data_format == "parquet":
        from recbole_raserec.data.frames import parquet_rows

        return Source(str(path), "row", parquet_rows(path, field, columns, show_progress))
    lines = read_lines(path, field, show_progress, "convert")
    if data_format == "sequences":
        rows = sequence_rows(lines)
    elif data_format == "csv":
        rows = csv_rows(lines, columns, delimiters, str(path))
    elif data_format == "amazon-csv":
        rows = amazon_csv_rows(lines, delimiters[0])
    else:
        rows = json_rows(lines, columns)
    return Source(str(path), "line", rows)


def _frame_format(source: Any, data_format: str, field: str) -> str:
    if not (hasattr(source, "iloc") and hasattr(source, "columns")) and not hasattr(source, "to_batches"):
        mend = "give a path, a pandas DataFrame or a pyarrow Table"
        raise ConfigError(field, type(source).__name__, "cannot be read", mend)
    if data_format != "auto":
        raise ConfigError(
            "format", data_format, "a frame has no format of a file", "leave the format out, or give auto"
        )
    return FRAME


def _frame_rows(source: Any, columns: Sequence[Column], where: str) -> Rows:
    from recbole_raserec.data.frames import frame_rows, table_rows  # pyarrow is slow to import

    return frame_rows(source, columns, where) if hasattr(source, "iloc") else table_rows(source, columns, where)
