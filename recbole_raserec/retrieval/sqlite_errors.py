"""SQLite's errors and the system's, as errors that name the file, the problem and the remedy."""

from __future__ import annotations

from pathlib import Path

from recbole_raserec.errors import ConfigError, DataError, RaSeRecError

WAIT = 300.0  # seconds that a writer waits for the others
# A part of SQLite's message -> the kind of error, the problem, and what mends it.
_EXPLAINED: tuple[tuple[str, type[RaSeRecError], str, str], ...] = (
    ("is full", ConfigError, "cannot be written, because the disk is full", "free some space"),
    ("readonly", ConfigError, "is read-only", "make the file and its folder writable, or give another path"),
    ("locked", ConfigError, f"was in use by another process for {WAIT:.0f} s", "end that process, or try again"),
    ("unable to open", ConfigError, "cannot be opened", "give the path of a store, in a folder that can be written to"),
    ("not a database", DataError, "is not a memory store", "give another path"),
    ("no such", DataError, "is not a memory store of this version", "give another path"),
    ("malformed", DataError, "is damaged", "restore it from a copy"),
    ("interrupted", ConfigError, "was interrupted", "try again"),
)


def explain(path: Path, error: Exception) -> RaSeRecError:
    """The clear error for an error of SQLite or of the system at the store ``path``."""
    if isinstance(error, OSError):
        problem = f"cannot be opened or written ({error.strerror or error})"
        return ConfigError("memory store", str(path), problem, "give another path, or free some space")
    for part, kind, problem, mend in _EXPLAINED:
        if part in str(error):
            return kind("memory store", str(path), problem, mend)
    return DataError("memory store", str(path), f"cannot be read or written ({error})", "check the disk")
