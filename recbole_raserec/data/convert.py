"""Conversion of files and frames of interactions to RecBole's atomic files.

A converted file is sorted by user, in the order of their first line, then by time. Ties keep the file order.
RecBole compares timestamps as float32, and keeps this order.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from recbole_raserec.data.columns import KNOWN_NAMES, Column, wanted
from recbole_raserec.data.formats import DELIMITERS
from recbole_raserec.data.interactions import Interactions
from recbole_raserec.data.requirements import check_splittable
from recbole_raserec.data.rows import BadLines, consume
from recbole_raserec.data.sources import check_options, format_of, open_source
from recbole_raserec.data.titles import TITLE_HEADER, Titles
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.runtime.files import check_folder_name, check_writable, writing

if TYPE_CHECKING:
    from recbole_raserec.data.sources import Readable

HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"


@dataclass(frozen=True)
class Converted:
    """The written files, the SHA-256 of the interactions, and counts of the content.

    Attributes
    ----------
    time_unit : what the times of the source were: ``seconds``, ``milliseconds``, ``microseconds``, ``nanoseconds``,
        ``dates``, or ``positions`` of a sequence.
    item_path : the file of titles, or None.
    titles, untitled : the number of items with and without a title, both 0 without a table of items.
    skipped_items : the number of bad lines in the table of items.
    stays : a file of titles of an earlier conversion that a run will read, or None.
    """

    path: Path
    sha256: str
    users: int
    items: int
    interactions: int
    skipped_lines: int
    short_users: int
    time_unit: str = "seconds"
    item_path: Path | None = None
    titles: int = 0
    untitled: int = 0
    skipped_items: int = 0
    stays: Path | None = None

    def summary(self) -> list[str]:
        """What was written and what was left out, in words."""
        lines = [f"wrote {self.path}: {self.users:,} users, {self.items:,} items, {self.interactions:,} interactions"]
        if self.time_unit != "positions":
            lines.append(f"times were read as {self.time_unit}")
        if self.item_path:
            titles = f"{self.titles:,} items with a title; {self.untitled:,} items have none"
            lines.append(f"wrote {self.item_path}: {titles}")
        if self.stays:
            lines.append(f"{self.stays} stays as it is: delete it if its titles are not those of these items")
        lines.append(f"SHA-256 {self.sha256}")
        if self.skipped_lines:
            lines.append(f"skipped {self.skipped_lines:,} bad lines")
        if self.skipped_items:
            lines.append(f"skipped {self.skipped_items:,} bad lines of the table of items")
        if self.short_users:
            lines.append(f"{self.short_users:,} users have fewer than four items: trained on, not validated on")
        return lines


def convert(
    source: Readable,
    data_format: str,
    dataset: str,
    data_path: str | Path = "dataset",
    k_core: int = 0,
    on_bad_line: str = "error",
    show_progress: bool = True,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    delimiter: str | None = None,
    items: Readable | None = None,
    title: str | None = None,
) -> Converted:
    """Convert ``source`` to ``data_path/dataset/dataset.inter``. With ``items``, also write ``dataset.item``.

    The files are written atomically. If one cannot be written, the other is not changed either.

    Parameters
    ----------
    source : the path of a file (text, also gzip, or Parquet), a pandas DataFrame or a pyarrow Table.
    data_format : ``auto`` (by the file's name; for frames always), ``sequences`` (one user per line: user item item
        ..., oldest item first, ids from 1), ``csv`` (with a header and any delimiter), ``json`` (one object per line),
        ``parquet``, ``amazon-csv`` (user,item,rating,timestamp without a header) or ``amazon-json`` (one review per
        line).
    k_core : remove users and items with fewer interactions than this, until none is left.
    on_bad_line : ``error``, or ``skip`` to leave bad lines out and count them.
    user, item, time : the names of the columns. By default well-known names are tried, for example ``user_id``.
        Times are ISO dates, or numbers in seconds, milliseconds, microseconds or nanoseconds. Their median decides.
    delimiter : the character between the fields of a CSV file, or ``\\t``. By default the header decides.
    items : a table with titles of the items, in the same forms as ``source``, with its format by its name.
    title : the name of the column of titles. Titles are written as one line each, and empty if there is none.

    Raises
    ------
    DataError : a line is bad, a column does not exist, the file is empty or damaged, or the result cannot be split.
    ConfigError : the options do not fit together, or the files cannot be written.
    """
    check_folder_name("dataset", dataset, "give a name; its folder is written into --data_path")
    columns = [wanted("user", user), wanted("item", item), wanted("time", time)]
    data_format = format_of(source, data_format, "input")
    delimiter = {"\\t": "\t"}.get(delimiter or "", delimiter)
    check_options(data_format, columns, delimiter)
    if title and items is None:
        raise ConfigError("title", title, "there is no table of items", "give it with --items=FILE")
    check_writable("data_path", Path(data_path) / dataset)
    skip = on_bad_line == "skip"
    delimiters = (delimiter,) if delimiter else DELIMITERS
    opened = open_source(source, data_format, columns, delimiters, "input", show_progress)
    table = Interactions()
    bad = consume(opened, table.add, skip)
    ordered = _ordered(table, k_core, opened.name, bad)
    _, lengths = np.unique(ordered[0], return_counts=True)
    short = check_splittable(lengths, source=opened.name)
    left = np.unique(ordered[1])
    titles, bad_items = None, BadLines()
    if items is not None:
        names = list(table.items)
        kept = dict.fromkeys(names[number] for number in left.tolist())
        titles, bad_items = _titles(items, kept, item, title, delimiter, skip)
    path = Path(data_path) / dataset / f"{dataset}.inter"
    sha256, beside = _write(path, table, ordered, titles), path.with_suffix(".item")
    return Converted(
        path,
        sha256,
        users=len(lengths),
        items=len(left),
        interactions=len(ordered[0]),
        skipped_lines=bad.count,
        short_users=short,
        time_unit="positions" if data_format == "sequences" else table.times.unit()[0],
        item_path=None if titles is None else beside,
        titles=sum(map(bool, (titles or {}).values())),
        untitled=sum(not text for text in (titles or {}).values()),
        skipped_items=bad_items.count,
        stays=beside if titles is None and beside.is_file() else None,
    )


Ordered = tuple[np.ndarray, np.ndarray, np.ndarray]


def _ordered(table: Interactions, k_core: int, name: str, bad: BadLines) -> Ordered:
    """User, item and time columns in the order of the file. Raise DataError if nothing is left."""
    ordered = table.ordered(k_core)
    if len(ordered[0]) == 0:
        problem = "no interaction is left" + (f" ({bad})" if bad.count else "")
        mend = "check --format" + (" and --k_core" if k_core else "")
        raise DataError(name, None, problem, mend)
    late = table.times.of_finer_unit(ordered[2])
    if late is not None:
        problem = f"the times are in {table.times.unit()[0]} by their median, and there this one is after the year 5138"
        raise DataError(name, int(late), problem, "write all times in one unit, or leave this one out")
    return ordered


def _titles(
    source: Readable, kept: dict[str, None], item: str | None, title: str | None, delimiter: str | None, skip: bool
) -> tuple[dict[str, str], BadLines]:
    """The titles of the items ``kept``, in their order. Raise DataError if there is none at all.

    An item without a title has an empty one, because RecBole drops the interactions of items that a loaded table lacks.
    """
    known = tuple(dict.fromkeys([*([item] if item else []), *KNOWN_NAMES["item"]]))  # the table may not use ``item``
    columns = [Column("item", None, known), wanted("title", title)]
    data_format = format_of(source, "auto", "items")
    delimiters = DELIMITERS + ((delimiter,) if delimiter else ())
    opened = open_source(source, data_format, columns, delimiters, "items")
    titles = Titles(kept)
    bad = consume(opened, titles.add, skip)
    if not titles.found:
        problem = f"none of the {len(kept):,} items has a title in it" + (f" ({bad})" if bad.count else "")
        raise DataError("items", opened.name, problem, "check --item and --title")
    return {name: titles.found.get(name, "") for name in kept}, bad


def _write(path: Path, table: Interactions, ordered: Ordered, titles: dict[str, str] | None) -> str:
    """Write the atomic files and return the SHA-256 of the interactions.

    Both temporary files are complete before one of them takes its place.
    """
    with writing(path, field="data_path") as file:
        sha256 = _write_interactions(file, table, ordered)
        if titles is not None:
            file.flush()  # what does not fit on the disk is an error here, before the titles take their place
            os.fsync(file.fileno())
            with writing(path.with_suffix(".item"), field="data_path") as beside:
                beside.write(TITLE_HEADER.encode())
                beside.writelines(f"{name}\t{title}\n".encode() for name, title in titles.items())
    return sha256


def _write_interactions(file: IO[bytes], table: Interactions, ordered: Ordered) -> str:
    users, items, times = ordered
    user_names, item_names = list(table.users), list(table.items)
    digest = hashlib.sha256(HEADER.encode())
    file.write(HEADER.encode())
    for start in range(0, len(users), 100_000):
        block = slice(start, start + 100_000)
        rows = zip(users[block].tolist(), items[block].tolist(), times[block].tolist())
        text = "".join(f"{user_names[u]}\t{item_names[i]}\t{t:.15g}\n" for u, i, t in rows).encode()
        digest.update(text)
        file.write(text)
    return digest.hexdigest()
