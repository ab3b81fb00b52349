"""Every file that this package writes: atomic and durable. A reader finds the old file or the complete new one.

A file is written beside its place, is on the disk before it takes its place, and its folder is on the disk before the
writer goes on. So neither a killed process nor a loss of power leaves a part of a file, or a name without its content.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from recbole_raserec.errors import ConfigError

_RESULT_MIB = 0.1
_LOG_MIB = 8  # enough for a run's log and TensorBoard files
_BUFFER = 2**20


@contextmanager
def replacing(path: Path, keep: bool = False, follow: bool = True, field: str = "output") -> Iterator[Path]:
    """A temporary path beside ``path``. It replaces ``path`` if the block ends without an error, else it is removed.

    Parameters
    ----------
    keep : the file that is replaced stays as :func:`before` ``path``. Then a link is replaced itself.
    follow : if ``path`` is a link, its target is replaced.
    field : the parameter that names ``path`` or its folder.

    Raises
    ------
    ConfigError : ``path`` is a folder or a device, its folder cannot be created or written to, or the disk is full.
    """
    check_file(field, path)
    given, path = path, Path(os.path.realpath(path)) if follow and not keep else path
    made = _missing(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        handle, name = _draft(path)
        try:
            yield Path(name)
            os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are private
            sync(name)
            if keep and path.is_file():
                _keep(path)
            os.replace(name, path)
            sync(path.parent)
        finally:
            os.close(handle)
            with suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise ConfigError(field, str(given), problem, "free some space or give another folder") from error
    finally:
        _remove(made)


@contextmanager
def writing(path: Path, keep: bool = False, field: str = "output") -> Iterator[IO[bytes]]:
    """A new file of bytes that replaces ``path`` as in :func:`replacing`."""
    with replacing(path, keep, field=field) as temporary, open(temporary, "wb", _BUFFER) as file:
        yield file


def write_text(path: Path, text: str, field: str = "output") -> None:
    """Write a file of text in UTF-8 as in :func:`replacing`."""
    with writing(path, field=field) as file:
        file.write(text.encode())


def before(path: Path) -> Path:
    """Where ``replacing(path, keep=True)`` keeps the file that it replaced."""
    return path.with_name(f"{path.name}.before")


def sync(path: str | Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def only_writer(path: Path, wait: bool, *others: Path, field: str = "checkpoint_dir") -> Iterator[None]:
    """Hold the lock of ``path``. It ends with the process, also when that is killed.

    Parameters
    ----------
    wait : wait until another process gives the lock back; else its lock is an error.
    others : further files that only the holder writes.
    field : the parameter that names the folder of ``path``.

    Raises
    ------
    ConfigError : another process holds the lock, or the folder cannot be written to.
    """
    place = path.with_name(f".{path.name}.lock")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ConfigError(field, str(path.parent), f"no lock ({error.strerror})", "give another") from error
    try:
        _lock(handle, path, wait, field)
        for each in (path, *others):
            _remove_left(each)  # whoever has nothing more to write does it here only
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path, wait: bool, field: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not wait:
            problem = f"another run is writing {path.name} there"
            mend = "wait for it, add --resume=True to share its work, or give another folder"
            raise ConfigError(field, str(path.parent), problem, mend) from error
        logging.getLogger().warning(f"waiting for another run, which is writing {path}")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:  # some network folders have no locks
        logging.getLogger().warning(f"{path.parent} has no locks ({error.strerror}): start no second run there")


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


def check_file(field: str, path: str | Path) -> None:
    """Raise ConfigError if ``path`` is a folder, a device or a pipe, which a file may not replace."""
    if Path(path).exists() and not Path(path).is_file():
        raise ConfigError(field, str(path), "is not a file", "give the path of a file")


def check_folder_name(field: str, name: Any, mend: str) -> None:
    """Raise ConfigError unless ``name`` can be a data set's name, which is that of its folder and files."""
    if not re.fullmatch(r"[\w.+-]+", str(name)) or set(str(name)) <= {"."}:
        raise ConfigError(field, name, "not a folder name", mend)


def check_files(config: Mapping[str, Any]) -> None:
    """Raise ConfigError now, and not after hours, if a run could not read its checkpoints, or write what it writes."""
    for name in ("pretrained", "regenerator_pretrained"):
        if config[name] and not Path(config[name]).is_file():
            raise ConfigError(name, config[name], "there is no such file", "give the path of a checkpoint")
    check_writable("the working folder", Path("log"), _LOG_MIB)
    check_writable("checkpoint_dir", config["checkpoint_dir"])
    if file := config["result_file"]:
        check_file("result_file", file)
        check_writable("result_file", Path(file).resolve().parent, _RESULT_MIB)


def _missing(folder: Path) -> list[Path]:
    """Missing folders among ``folder`` and its parents, innermost first."""
    return [parent for parent in (folder, *folder.parents) if not parent.exists()]


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _draft(path: Path) -> tuple[int, str]:
    """A new file beside ``path``, and a handle that holds its lock as long as its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with suppress(OSError):  # without locks, drafts of killed writers stay
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # another writer took it for the draft of a killed one


def _remove_left(path: Path) -> None:
    """Remove drafts of ``path`` whose writers were killed. A living writer holds its draft's lock."""
    draft = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
    with suppress(OSError):
        os.unlink(_kept(path))
    for name in os.listdir(path.parent):
        if draft.fullmatch(name):
            with suppress(OSError):  # its writer lives, or another one removes it
                handle = os.open(path.parent / name, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path.parent / name)
                finally:
                    os.close(handle)


def _keep(path: Path) -> None:
    """Keep a file that is about to be replaced. At every moment ``path`` or the kept file is there and complete."""
    beside = _kept(path)
    try:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        os.link(path, beside)
        os.replace(beside, before(path))
    except OSError:  # a file system without hard links
        os.replace(path, before(path))
    finally:
        # It is still there if the rename failed, or did nothing. POSIX wants it to do nothing if both names are of one
        # file, which a kill after the last rename leaves.
        with suppress(OSError):
            os.unlink(beside)


def _kept(path: Path) -> Path:
    return path.with_name(f".{path.name}.kept")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
