"""Writing files so that a reader finds the old one or the whole new one, never a half."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_raserec.errors import ConfigError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, else is removed.

    Raises
    ------
    OSError : the folder cannot be made or written, or the disk is full.
    """
    made = _missing(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are private
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except BaseException:
        _remove(made)
        raise


def check_writable(field: str, folder: str | Path, need_mib: float = 1.0) -> None:
    """Raise ConfigError unless ``folder`` can be written to and has ``need_mib`` free."""
    folder = Path(folder)
    made = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _remove(made)
        raise ConfigError(field, str(folder), f"cannot be written to ({error.strerror})", "give another") from error
    free = shutil.disk_usage(folder).free / 2**20
    if free < need_mib:
        problem = f"has {free:.0f} MiB free, and this needs about {need_mib:.0f}"
        raise ConfigError(field, str(folder), problem, "free some space or give another folder")


def _missing(folder: Path) -> list[Path]:
    """Those of ``folder`` and the ones above it that do not exist, innermost first."""
    return [parent for parent in (folder, *folder.parents) if not parent.exists()]


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
