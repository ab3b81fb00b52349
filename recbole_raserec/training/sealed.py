"""torch's file with a checksum of all its bytes, which also finds what torch does not check: a flipped bit in a tensor.

The checksum is the comment of the zip archive that torch writes. So ``torch.load`` reads the file as before, and files
without a checksum, which earlier versions wrote, still load.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any

import torch

from recbole_raserec.runtime.signals import held_back

_ZIP, _END, _END_SIZE = b"PK\x03\x04", b"PK\x05\x06", 22  # first bytes; the end of the directory, without a comment
_NO_COMMENT = b"\0\0"  # the last two bytes are the comment's length
_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64
_BLOCK = 2**20


class Damaged(Exception):
    """The file is not what was written."""


def save(state: Any, file: IO[bytes]) -> None:
    """Write ``state`` as ``torch.save`` does, and seal it."""
    seal = _Seal(file)
    try:
        with held_back():
            torch.save(state, seal)
    except RuntimeError as error:  # torch hides the error of a full disk behind its own
        raise seal.error or error from None
    seal.close()


def load(path: Path, device: Any) -> Any:
    """Tensors and plain types of a sealed file, or of a file of an earlier version. Nothing in it is executed.

    Raises
    ------
    Damaged : the file was cut short or changed after it was written, or it is not torch's archive. torch's older forms
        are not read at all: ``weights_only`` did not protect the reader of one of them (CVE-2025-32434).
    Exception : torch raises almost any error for a file that it cannot read.
    """
    with open(path, "rb") as file:
        _check(file)
        file.seek(0)
        with held_back():
            return torch.load(file, map_location=device, weights_only=True)


def _check(file: IO[bytes]) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(_ZIP)) != _ZIP:
        raise Damaged("not a checkpoint of tensors and plain types in torch's archive")
    file.seek(-min(size, _END_SIZE), os.SEEK_END)
    end = file.read()
    if end.startswith(_END) and end.endswith(_NO_COMMENT):
        return  # an earlier version wrote it
    file.seek(-min(size, _COMMENT), os.SEEK_END)
    comment = file.read()
    if comment != _MARK + _digest(file, size - _COMMENT):
        raise Damaged("damaged: its checksum is not that of its content (cut short, or changed after it was written)")


def _digest(file: IO[bytes], size: int) -> bytes:
    digest, left = hashlib.sha256(), size
    file.seek(0)
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


class _Seal:
    """The file that torch writes to. It holds the latest two bytes back, because they say how long the comment is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self._held = file, hashlib.sha256(), b""
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write ``data``, and what was held back, up to the latest two bytes."""
        view = memoryview(data).cast("B")
        if len(view) < 2:
            both = self._held + bytes(view)
            self._put(both[:-2])
            self._held = both[-2:]
        else:
            self._put(self._held)
            self._put(view[:-2])
            self._held = bytes(view[-2:])
        return len(view)

    def flush(self) -> None:
        """Nothing: :meth:`close` writes the rest."""

    def close(self) -> None:
        """Write the length of the comment, and the comment."""
        if self._held != _NO_COMMENT:
            raise AssertionError("torch's archive has a comment already")
        self._put(_COMMENT.to_bytes(2, "little"))
        self._put(_MARK + self._digest.hexdigest().encode())

    def _put(self, data: Any) -> None:
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
