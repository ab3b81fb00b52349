"""Atomic writing: a reader finds the old file or the complete new file, never a part of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_raserec.errors import ConfigError

_RESULT_MIB = 0.1
_LOG_MIB = 8  # enough for a run's log and TensorBoard files


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``. It replaces ``path`` if the block ends without an error, else it is removed.

    Raises
    ------
    ConfigError : the folder cannot be created or written to, or the disk is full.
    """
    made = _missing(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are private
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise ConfigError("output", str(path), problem, "free some space or give another folder") from error
    finally:
        _remove(made)


def json_line(content: Any) -> str:
    """JSON without spaces or line ends."""
    return json.dumps(content, separators=(",", ":"))


def check_writable(field: str, folder: str | Path, need_mib: float = 0.0) -> None:
    """Raise ConfigError unless ``folder`` can be written to and has ``need_mib`` MiB free.

    If ``folder`` does not exist, its nearest existing parent is checked.
    """
    nearest = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    try:
        if not nearest.stat().st_mode & 0o222:  # root could write, but the owner forbids it
            raise PermissionError(errno.EACCES, "Permission denied")
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(field, str(folder), f"cannot be written to ({error.strerror})", "give another") from error
    free = shutil.disk_usage(nearest).free / 2**20
    if free < need_mib:
        problem = f"has {free:.1f} MiB free, and this needs about {need_mib:.1f}"
        raise ConfigError(field, str(folder), problem, "free some space or give another folder")


def check_outputs(checkpoint_dir: str, result_file: str | None) -> None:
    """Raise ConfigError now, and not after hours, if a run could not write its logs, checkpoints or result."""
    check_writable("the working folder", Path("log"), _LOG_MIB)
    check_writable("checkpoint_dir", checkpoint_dir)
    if result_file:
        check_writable("result_file", Path(result_file).resolve().parent, _RESULT_MIB)


def _missing(folder: Path) -> list[Path]:
    """Missing folders among ``folder`` and its parents, innermost first."""
    return [parent for parent in (folder, *folder.parents) if not parent.exists()]


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
