"""Kills and errors at the boundaries of runtime/files.py, through which every file of a run goes."""

from __future__ import annotations

import errno
import io
import os
import signal
import tempfile
from types import SimpleNamespace
from typing import Any


class Faults:
    """Counts the boundaries of runtime/files.py in this process, and lets the one numbered ``at`` fail.

    Parameters
    ----------
    kind : "kill", "torn" (a write is half done before the kill) or the name of an error.
    """

    def __init__(self, at: int = 0, kind: str = "kill") -> None:
        self.at, self.kind, self.names = at, kind, []

    def install(self) -> None:
        """Put this object between runtime/files.py and the system, for the rest of this process."""
        from recbole_raserec.runtime import files

        system = {name: getattr(os, name) for name in dir(os)}
        gated = {name: self._gated(name, getattr(os, name)) for name in ("fsync", "replace", "link", "unlink")}
        files.os = SimpleNamespace(**{**system, **gated})
        names = {name: getattr(tempfile, name) for name in dir(tempfile)}
        files.tempfile = SimpleNamespace(**{**names, "mkstemp": self._gated("create", tempfile.mkstemp)})
        files.open = self._open

    def _gated(self, name: str, call: Any) -> Any:
        def gate(*args: Any, **kwargs: Any) -> Any:
            self.pass_by(name)
            return call(*args, **kwargs)

        return gate

    def pass_by(self, name: str, torn: Any = None) -> None:
        """One boundary. ``torn`` does half of the call."""
        self.names.append(name)
        if len(self.names) != self.at:
            return
        if self.kind in ("kill", "torn"):
            if self.kind == "torn" and torn is not None:
                torn()
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.kind)
        raise OSError(number, os.strerror(number))

    def _open(self, path: Any, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        if "w" not in mode:
            return open(path, mode, buffering, **kwargs)
        faults = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                faults.pass_by("write", lambda: io.FileIO.write(self, view[: len(view) // 2]))
                return super().write(view)

        return io.BufferedWriter(Raw(path, "w"), buffering)
