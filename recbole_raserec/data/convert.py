"""Conversion of text files of interactions to RecBole's atomic files.

A converted file is sorted by user, in the order of their first line, then by time. Ties keep the file order.
RecBole compares timestamps as float32, and keeps this order.
"""

from __future__ import annotations

import gzip
import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_raserec.data.formats import BadLineError, Event, Parser, parser_of
from recbole_raserec.data.requirements import check_splittable
from recbole_raserec.errors import DataError
from recbole_raserec.runtime.files import check_writable, replacing

HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"


@dataclass(frozen=True)
class Converted:
    """The written file, its SHA-256, and counts of its content."""

    path: Path
    sha256: str
    users: int
    items: int
    interactions: int
    skipped_lines: int
    short_users: int


def convert(
    source: str | Path,
    data_format: str,
    dataset: str,
    data_path: str | Path = "dataset",
    k_core: int = 0,
    on_bad_line: str = "error",
    show_progress: bool = True,
) -> Converted:
    """Convert ``source`` (plain text or gzip) to ``data_path/dataset/dataset.inter``; the file is written atomically.

    Parameters
    ----------
    data_format : ``sequences`` (one user per line: user item item ..., oldest item first, ids from 1), ``csv``
        (with a header), ``amazon-csv`` (user,item,rating,timestamp without a header) or ``amazon-json``
        (one review per line).
    k_core : remove users and items with fewer interactions than this, until none is left.
    on_bad_line : ``error``, or ``skip`` to leave bad lines out and count them.

    Raises
    ------
    DataError : a line is bad, the file is empty or not text, or the result cannot be split.
    ConfigError : the file cannot be written.
    """
    source = Path(source)
    if not source.is_file():
        raise DataError("input", str(source), "there is no such file", "give the path of a text file")
    check_writable("data_path", Path(data_path) / dataset)
    table = _Table()
    skipped = 0
    parse: Parser | None = None
    for number, line in _lines(source, show_progress):
        try:
            if parse is None:
                parse, is_header = parser_of(data_format, line)
                if is_header:
                    continue
            table.extend(parse(line))
        except BadLineError as error:
            if on_bad_line != "skip":
                mend = "correct the line, or leave bad lines out with --on_bad_line=skip"
                raise DataError(f"{source} line {number}", None, str(error), mend) from error
            skipped += 1
    users, items, times = table.ordered(k_core)
    if len(users) == 0:
        problem = "no interaction is left" + (f" ({skipped} bad lines)" if skipped else "")
        mend = "check --format" + (" and --k_core" if k_core else "")
        raise DataError(str(source), None, problem, mend)
    _, lengths = np.unique(users, return_counts=True)
    short = check_splittable(lengths, source=str(source))
    path = Path(data_path) / dataset / f"{dataset}.inter"
    sha256 = _write(path, table, users, items, times)
    n_items = len(np.unique(items))
    return Converted(path, sha256, len(lengths), n_items, len(users), skipped, short)


class _Table:
    """Interactions as three flat columns of numbers. Each name is stored once."""

    def __init__(self) -> None:
        self.user_of: dict[str, int] = {}
        self.item_of: dict[str, int] = {}
        self.users, self.items, self.times = array("q"), array("q"), array("d")

    def extend(self, events: list[Event]) -> None:
        for user, item, time in events:
            self.users.append(self.user_of.setdefault(user, len(self.user_of)))
            self.items.append(self.item_of.setdefault(item, len(self.item_of)))
            self.times.append(time)

    def ordered(self, k_core: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """User, item and time columns after the k-core filter, sorted by user, then time. Ties keep the file order."""
        users, items, times = (np.array(column) for column in (self.users, self.items, self.times))
        keep = _k_core(users, items, k_core)
        keep = keep[np.lexsort((times[keep], users[keep]))]  # lexsort is stable
        return users[keep], items[keep], times[keep]


def _k_core(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Indices of the interactions of the k-core."""
    keep = np.arange(len(users))
    while k > 1 and len(keep):
        enough = np.bincount(users[keep])[users[keep]] >= k
        enough &= np.bincount(items[keep])[items[keep]] >= k
        if enough.all():
            break
        keep = keep[enough]
    return keep


def _write(path: Path, table: _Table, users: np.ndarray, items: np.ndarray, times: np.ndarray) -> str:
    """Write the atomic file and return its SHA-256."""
    user_names, item_names = list(table.user_of), list(table.item_of)
    digest = hashlib.sha256(HEADER.encode())
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(HEADER.encode())
        for start in range(0, len(users), 100_000):
            block = slice(start, start + 100_000)
            rows = zip(users[block].tolist(), items[block].tolist(), times[block].tolist())
            text = "".join(f"{user_names[u]}\t{item_names[i]}\t{t:.15g}\n" for u, i, t in rows).encode()
            digest.update(text)
            file.write(text)
    return digest.hexdigest()


def _lines(source: Path, show_progress: bool) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers. Raise DataError if the file is empty or not text."""
    with open(source, "rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        size = source.stat().st_size
        if size == 0:
            raise DataError("input", str(source), "the file is empty", "give a file that has interactions")
        text: Any = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        with tqdm(total=size, unit="B", unit_scale=True, desc="convert", ncols=100, disable=not show_progress) as bar:
            try:
                for number, line in enumerate(text, 1):
                    if b"\0" in line:
                        raise UnicodeDecodeError("utf-8", line, 0, 1, "NUL")
                    decoded = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                    if number % 1000 == 0:
                        bar.update(raw.tell() - bar.n)
                    if decoded.strip():
                        yield number, decoded
            except UnicodeDecodeError as error:
                mend = "give a text file in UTF-8, plain or gzip"
                raise DataError("input", str(source), f"line {number} is not text (a binary file?)", mend) from error
            except (gzip.BadGzipFile, EOFError) as error:
                raise DataError("input", str(source), f"broken gzip: {error}", "download it again") from error
            bar.update(size - bar.n)
