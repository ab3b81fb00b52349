"""Lines of a text file, plain or gzip, or of the standard input."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_raserec.errors import DataError

STANDARD = "-"  # names the standard input or output


def read_lines(source: Path | str, field: str, show_progress: bool, label: str = "read") -> Iterator[tuple[int, str]]:
    """Lines without their ends, also blank ones, with their numbers from 1.

    Parameters
    ----------
    source : a path, or ``STANDARD``.
    field : named in errors.
    label : of the progress bar.

    Raises
    ------
    DataError : the file is missing or empty, it is not text in UTF-8, or its gzip is damaged.
    """
    if str(source) == STANDARD:
        yield from _lines(sys.stdin.buffer, "standard input", 0, field, show_progress, label)
        return
    path = Path(source)
    if not path.is_file():
        raise DataError(field, str(source), "there is no such file", "give the path of a text file, plain or gzip")
    size = path.stat().st_size
    if size == 0:
        raise DataError(field, str(source), "the file is empty", "give a file with lines")
    with open(path, "rb") as raw:
        yield from _lines(raw, str(source), size, field, show_progress, label)


def _lines(raw: Any, name: str, size: int, field: str, show: bool, label: str) -> Iterator[tuple[int, str]]:
    is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
    text = gzip.GzipFile(fileobj=raw) if is_gzip else nullcontext(raw)
    number = 0
    units: dict[str, Any] = {"total": size, "unit": "B", "unit_scale": True} if size else {"unit": " lines"}
    with text as lines, tqdm(**units, desc=label, ncols=100, disable=None if show else True) as bar:
        try:
            for number, line in enumerate(lines, 1):
                if b"\0" in line:
                    raise UnicodeDecodeError("utf-8", line, 0, 1, "NUL")
                if number % 1000 == 0:
                    bar.update(raw.tell() - bar.n if size else 1000)
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            mend = "give a text file in UTF-8, plain or gzip"
            raise DataError(field, name, f"line {number} is not text (a binary file?)", mend) from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(field, name, f"broken gzip: {error}", "download it again") from error
        bar.update(size - bar.n if size else number % 1000)
