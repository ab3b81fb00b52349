"""FAISS's index beside a store, so that a start need not build it. It is never trusted, and a deletion removes it."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss

from recbole_raserec.errors import ConfigError, RaSeRecError
from recbole_raserec.retrieval.index import load_index, save_index
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.retrieval.rows import Mark
from recbole_raserec.retrieval.store import MemoryStore
from recbole_raserec.runtime.files import json_line, replacing


class _Moved(Exception):
    """Memories were deleted while the index was written. It may hold their keys."""


@dataclass(frozen=True)
class IndexSettings:
    """The index over the base of the memory: ``index_factory``, ``index_nprobe`` and ``index_recall`` of a bank."""

    factory: str = "auto"
    nprobe: int = 16
    recall: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.recall, bool) or not isinstance(self.recall, (int, float)) or not 0 <= self.recall <= 1:
            problem = "must be a number in [0, 1]"
            raise ConfigError("index_recall", self.recall, problem, "for example 0.98; 0 does not tune the search")

    def of(self, bank: MemoryBank) -> MemoryBank:
        """The bank with this index."""
        if (bank.index_factory, bank.index_nprobe, bank.index_recall) == (self.factory, self.nprobe, self.recall):
            return bank
        return replace(bank, index_factory=self.factory, index_nprobe=self.nprobe, index_recall=self.recall)


@dataclass(frozen=True)
class IndexCache:
    """The files ``<store>.index`` and ``<store>.index.json``.

    The index holds all memories up to an id, and none that is deleted. Its header names the state of the store that it
    belongs to, and its size and digest, which are checked before FAISS reads it.
    """

    store: MemoryStore
    factory: str
    nprobe: int
    recall: float

    def load(self, mark: Mark) -> tuple[Any, int] | None:
        """The index and the last id in it, or None if there is none that belongs to the store at ``mark``."""
        try:
            header = json.loads(self._header_path.read_text(encoding="utf-8"))
            wanted = self._state(mark)
            if {name: header[name] for name in wanted} != wanted or header["watermark"] > mark.id:
                return None
            if (header["size"], header["sha256"]) != _digest(self.store.index_path):
                return None
            index = load_index(self.store.index_path, mmap=True)
            if index.ntotal != header["rows"] or index.d != self.store.width:
                return None
            if not self.recall:  # else the file has the number that reached it
                _visit(index, self.nprobe)
            return index, int(header["watermark"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, index: Any, mark: Mark) -> None:
        """Write ``index``, which holds all memories of the store at ``mark``. A failure is only logged."""
        try:
            with (
                ExitStack() as still,
                replacing(self.store.index_path, follow=False) as draft,  # a deletion removes what is there
                replacing(self._header_path, follow=False) as header,
            ):
                save_index(index, draft)
                size, sha256 = _digest(draft)
                content = {"watermark": mark.id, "rows": index.ntotal, "size": size, "sha256": sha256}
                header.write_text(json_line({**self._state(mark), **content}), encoding="utf-8")
                if not still.enter_context(self.store.still(mark)):  # ends after the files are in their places
                    raise _Moved
        except (_Moved, RaSeRecError, OSError) as error:
            logging.getLogger().warning(f"the index of {self.store.path} was not kept: {error!r}")

    @property
    def _header_path(self) -> Path:
        return self.store.index_path.with_suffix(".index.json")

    def _state(self, mark: Mark) -> dict[str, Any]:
        store = {"model": self.store.model, "epoch": mark.epoch, "generation": mark.generation}
        return {**store, "factory": self.factory, "recall": self.recall, "faiss": faiss.__version__}


def _visit(index: Any, nprobe: int) -> None:
    """Set how many lists a search visits, if the index has lists."""
    with suppress(RuntimeError):
        lists = faiss.try_extract_index_ivf(index)
        if lists is not None:
            lists.nprobe = min(nprobe, lists.nlist)


def _digest(path: Path) -> tuple[int, str]:
    """Size in bytes, and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
