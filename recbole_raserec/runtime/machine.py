"""Facts about this machine and process that a result records: processor, threads, memory, versions."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

import torch

_STATUS = Path("/proc/self/status")
_PACKAGES = ("recbole-raserec", "recbole", "torch", "faiss-cpu", "numpy", "pandas")


class Machine(TypedDict):
    """The number of threads is part of it: it sets the order of float sums, and so the last digits of figures."""

    device: str
    threads: int
    processor: str
    system: str


def machine(device: str) -> Machine:
    """The facts about this machine; ``device`` is the one that torch computes on."""
    threads = torch.get_num_threads()
    return {"device": device, "threads": threads, "processor": platform.machine(), "system": platform.system()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a clone
            from recbole_raserec import __version__

            found[package] = __version__ if package == "recbole-raserec" else "unknown"
    return found


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, in MiB.

    Linux tells it in /proc/self/status; getrusage also counts the memory of the parent process. Some sandboxes with
    a /proc of their own leave the line out.
    """
    lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
    if peak := next((line for line in lines if line.startswith("VmHWM")), None):
        return round(int(peak.split()[1]) / 2**10, 1)
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak_rss / (2**20 if sys.platform == "darwin" else 2**10), 1)


def resident_mib() -> float:
    """Resident memory of this process in MiB; 0 where it is not known (only Linux tells it)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20 if statm.is_file() else 0.0


def return_freed() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    glibc keeps the gaps between the blocks in use. Pages that were given back cost time when they are used again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class HeapGrowth:
    """Gives freed memory back to the system once the process has grown enough.

    Batches of ever other shapes fill other gaps of the heap, so the resident memory of a training would grow with every
    step and every epoch.
    """

    _IN_AN_EPOCH, _BETWEEN_EPOCHS = 768.0, 128.0  # MiB

    def __init__(self) -> None:
        self._start = resident_mib()
        self._first: float | None = None

    def after_step(self) -> None:
        """Give memory back after a growth since the training began, or since the last time here."""
        if resident_mib() > self._start + self._IN_AN_EPOCH:
            return_freed()
            self._start = resident_mib()  # what is left is in use

    def after_epoch(self) -> None:
        """Give memory back after a growth since the first epoch's end."""
        resident = resident_mib()
        if self._first is None:
            self._first = resident
        elif resident > self._first + self._BETWEEN_EPOCHS:
            return_freed()
