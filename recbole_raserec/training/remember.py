"""The stage between pre-training and fine-tuning: fill a memory bank, and search it for every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_raserec.config.config import Config
from recbole_raserec.data.patterns import mine_patterns
from recbole_raserec.data.sequences import Prefixes, Sequences
from recbole_raserec.errors import DataError
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.runtime.progress import bar
from recbole_raserec.training.queries import Queries, encode_part, search_part


@dataclass(frozen=True)
class Reader:
    """Encodes and searches parts of the data for one model.

    Attributes
    ----------
    ray_address : address of the Ray cluster that encodes; None means this process encodes.
    """

    model: RaSeRec
    index_factory: str
    index_nprobe: int
    index_recall: float
    ray_address: str | None
    show_progress: bool

    @classmethod
    def of(cls, config: Config, model: RaSeRec) -> Reader:
        """The reader that the configuration describes."""
        index = config["index_factory"], config["index_nprobe"], config["index_recall"]
        return cls(model, *index, config["ray_address"], bool(config["show_progress"]))

    def encode(self, part: Prefixes, label: str = "encode") -> np.ndarray:
        """[R, D] user vectors of the backbone."""
        return encode_part(self.model, part, bar(label, self.show_progress), self.ray_address)

    def bank(self, part: Prefixes, keys: np.ndarray) -> MemoryBank:
        """A memory bank of the pairs of a part; their user vectors are ``keys`` [R, D]."""
        columns = keys, part.targets, part.users, part.lengths, part.times
        return MemoryBank(*columns, self.index_factory, self.index_nprobe, self.index_recall)

    def search(
        self,
        memory: MemoryBank,
        part: Prefixes,
        vectors: np.ndarray,
        label: str,
        k: int = 0,
        before: np.ndarray | None = None,
    ) -> Queries:
        """The part with the ``k`` nearest memories of each row; the default is the number that ranking reads.

        ``before`` [R] limits the memories of each row to those that are older.
        """
        return search_part(memory, part, vectors, k or self.model.depth, bar(label, self.show_progress), before)


@dataclass(frozen=True)
class Remembered:
    """Everything that fine-tuning needs apart from the backbone.

    Attributes
    ----------
    memory : the bank of training pairs, patterns or both.
    train, valid : the parts with the nearest memories of every row.
    counts : [V] training interactions of each item.
    """

    memory: MemoryBank
    train: Queries
    valid: Queries
    counts: np.ndarray


@dataclass(frozen=True)
class BankSettings:
    """The content of a memory bank.

    Attributes
    ----------
    parts : "pairs", "patterns" or both.
    window, min_support : parameters of :func:`~recbole_raserec.data.patterns.mine_patterns`.
    """

    parts: Sequence[str]
    window: int
    min_support: int

    @classmethod
    def of(cls, config: Config) -> BankSettings:
        """The content that the configuration describes."""
        return cls(config["memory"], config["pattern_window"], config["pattern_min_support"])


def check_bank(sequences: Sequences, settings: BankSettings) -> None:
    """Raise DataError, before any training, if the bank would hold no memory."""
    if list(settings.parts) == ["patterns"] and not len(_mined(sequences, settings)):
        problem = f"no pattern occurs in {settings.min_support} training sequences, so the memory would be empty"
        raise DataError("memory", "patterns", problem, "lower --pattern_min_support, or add pairs to --memory")


def _mined(sequences: Sequences, settings: BankSettings) -> Prefixes:
    return mine_patterns(sequences.training_only(), settings.window, settings.min_support).prefixes()


def remember(reader: Reader, sequences: Sequences, settings: BankSettings) -> Remembered:
    """Fill a memory bank and search it for every training and validation row."""
    train, valid = sequences.train_part(generated=False), sequences.valid_part()
    vectors = reader.encode(train, "encode memory")
    banks = [reader.bank(train, vectors)] if "pairs" in settings.parts else []
    if "patterns" in settings.parts:
        patterns = _mined(sequences, settings)
        banks.append(reader.bank(patterns, reader.encode(patterns, "encode patterns")))
    memory = banks[0] if len(banks) == 1 else banks[0].join(banks[1])
    return Remembered(
        memory=memory,
        train=reader.search(memory, train, vectors, "search train", reader.model.top_k),
        valid=reader.search(memory, valid, reader.encode(valid), "search valid"),
        counts=sequences.training_counts(reader.model.n_items),
    )
