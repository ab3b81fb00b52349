"""Lines of a text file, plain or gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_raserec.errors import DataError


def read_lines(path: Path, field: str, show_progress: bool) -> Iterator[tuple[int, str]]:
    """Lines without their ends, also blank ones, with their numbers from 1. ``field`` is named in errors.

    Raises
    ------
    DataError : the file is empty, it is not text in UTF-8, or its gzip is damaged.
    """
    with open(path, "rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        size = path.stat().st_size
        if size == 0:
            raise DataError(field, str(path), "the file is empty", "give a file that has interactions")
        text: Any = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        with tqdm(total=size, unit="B", unit_scale=True, desc="convert", ncols=100, disable=not show_progress) as bar:
            try:
                for number, line in enumerate(text, 1):
                    if b"\0" in line:
                        raise UnicodeDecodeError("utf-8", line, 0, 1, "NUL")
                    if number % 1000 == 0:
                        bar.update(raw.tell() - bar.n)
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                mend = "give a text file in UTF-8, plain or gzip"
                raise DataError(field, str(path), f"line {number} is not text (a binary file?)", mend) from error
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DataError(field, str(path), f"broken gzip: {error}", "download it again") from error
            bar.update(size - bar.n)
