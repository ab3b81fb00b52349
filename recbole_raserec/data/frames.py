"""Rows of pandas frames, Arrow tables and Parquet files. All are read in blocks, as Arrow arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from recbole_raserec.data.columns import Column, positions
from recbole_raserec.data.rows import Rows
from recbole_raserec.data.times import Seconds, seconds_of
from recbole_raserec.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 65_536
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def frame_rows(frame: pd.DataFrame, columns: Sequence[Column], where: str) -> Rows:
    """The values of ``columns`` in each row of a pandas frame, with row numbers from 0, as ``iloc`` counts.

    Raises
    ------
    DataError : a column does not exist, or it exists twice.
    """
    places = positions(columns, [str(name) for name in frame.columns], where)

    def blocks() -> Iterator[list[list[Any]]]:
        for start in range(0, len(frame), BLOCK):
            block = frame.iloc[start : start + BLOCK]
            yield [_series_values(column, block.iloc[:, place]) for column, place in zip(columns, places)]

    return _numbered(blocks())


def table_rows(table: pa.Table, columns: Sequence[Column], where: str) -> Rows:
    """The values of ``columns`` in each row of an Arrow table, with row numbers from 0.

    Raises
    ------
    DataError : a column does not exist, or it exists twice.
    """
    places = positions(columns, table.column_names, where)
    batches = table.select(places).to_batches(max_chunksize=BLOCK)
    return _numbered(_batch_values(columns, batch) for batch in batches)


def parquet_rows(path: Path, field: str, columns: Sequence[Column], show_progress: bool) -> Rows:
    """The values of ``columns`` in each row of a Parquet file, with row numbers from 0. ``field`` is named in errors.

    Raises
    ------
    DataError : the file is no Parquet file, it is damaged, or a column does not exist.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            chosen = [names[place] for place in positions(columns, names, str(path))]
            batches = file.iter_batches(batch_size=BLOCK, columns=chosen)
            total = file.metadata.num_rows
            with tqdm(
                total=total, unit="rows", desc="convert", ncols=100, disable=None if show_progress else True
            ) as bar:
                for number, row in _numbered(_batch_values(columns, batch.select(chosen)) for batch in batches):
                    if number % 1000 == 0:
                        bar.update(number - bar.n)
                    yield number, row
                bar.update(total - bar.n)
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:  # a damaged file raises any
        problem = f"not a readable Parquet file ({(str(error).splitlines() or [type(error).__name__])[0]})"
        raise DataError(field, str(path), problem, "write it again, or name its format with --format") from error


def _numbered(blocks: Iterable[list[list[Any]]]) -> Rows:
    number = 0
    for block in blocks:
        for row in zip(*block):
            yield number, row
            number += 1


def _batch_values(columns: Sequence[Column], batch: pa.RecordBatch) -> list[list[Any]]:
    return [_values(column, batch.column(place)) for place, column in enumerate(columns)]


def _series_values(column: Column, series: pd.Series) -> list[Any]:
    """The values of a pandas column. Arrow reads only its dates; in a column of objects it would turn 5 into a date."""
    if column.what == "time" and series.dtype.kind == "M":
        return _values(column, pa.Array.from_pandas(series))
    return series.tolist()


def _values(column: Column, array: Any) -> list[Any]:
    """The values as Python objects. Times of a date type become Seconds, or NaN where they are missing."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    is_time = column.what == "time"
    if isinstance(array.type, pa.BaseExtensionType) or (pa.types.is_temporal(array.type) and not is_time):
        return [array.type] * len(array)  # no token and no time, so each row is bad, and its error shows the type
    if is_time and pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ms" if pa.types.is_date64(array.type) else "s"))
    return _seconds(array) if pa.types.is_timestamp(array.type) else array.to_pylist()


def _seconds(array: pa.TimestampArray) -> list[Any]:
    missing = array.is_null().to_numpy(zero_copy_only=False)
    counts = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    seconds = np.where(missing, np.nan, seconds_of(counts, _TICKS[array.type.unit]))
    return [Seconds(value) for value in seconds.tolist()]
