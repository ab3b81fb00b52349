"""Training of the DR4SR regenerator on (sequence, pattern) pairs (arXiv 2405.17795, "pattern-to-data")."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.config.config import Config
from recbole_raserec.data.patterns import Patterns
from recbole_raserec.data.sequences import Sequences
from recbole_raserec.regeneration.decoding import source_tokens
from recbole_raserec.regeneration.regenerator import Regenerator
from recbole_raserec.runtime.ragged import ragged_arange, spans
from recbole_raserec.training.stage import FUSED, StageTrainer

_DECAY, _COLDEST = 0.995, 0.1  # decay per step and minimum of the Gumbel softmax's temperature

_LOT = 16  # batches whose sources are drawn together


@dataclass(frozen=True)
class Pairs:
    """Training pairs of the regenerator.

    Attributes
    ----------
    sequences : the sources.
    patterns : the targets.
    sequence, pattern : [M] index of each pair's source and target; sources ascend.
    """

    sequences: Sequences
    patterns: Patterns
    sequence: np.ndarray
    pattern: np.ndarray


@dataclass(frozen=True)
class PairBatch:
    """Distinct sources [S, L], the row of each pair's source [P] (ascending), targets [P, T], and the temperature."""

    source: Tensor
    of: Tensor
    target: Tensor
    temperature: float


class RegeneratorTrainer(StageTrainer):
    """Trains a fixed number of epochs with a cosine schedule. It writes a checkpoint after each epoch.

    A batch holds all pairs of randomly drawn sources. So a source is encoded once per epoch, not once per pair.
    """

    rate = "regenerator_learning_rate"
    validates = False

    def __init__(self, config: Config, model: Regenerator, pairs: Pairs, data_sha256: str, source: str) -> None:
        self.peak = config["regenerator_learning_rate"]
        super().__init__(config, model, "regenerate", data_sha256, source)
        self.pairs, self.epochs = pairs, config["regenerator_epochs"]

    @property
    def losses(self) -> list[float]:
        """Mean loss of the batches of every epoch."""
        return [total / len(self._cut(epoch)) for epoch, total in self.train_loss_dict.items()]

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Adam:
        """The optimiser of the paper. The backbone's ``learner`` has no effect on it."""
        return torch.optim.Adam(self.model.parameters(), lr=self.peak, betas=(0.9, 0.98), fused=FUSED or None)

    def train(self, show_progress: bool) -> None:
        """Train to the last epoch. With ``resume``, continue where an earlier run stopped."""
        with self._alone():
            if not (self.config["resume"] and self._restore_last()):
                self.fit(None, None, show_progress=show_progress)
                self._save_last(self.epochs - 1, finished=True)
        self.tensorboard.close()

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Save the last epoch. Without a validation part, RecBole calls this after every epoch."""
        self._save_last(epoch)

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> float:
        rate = self.peak * (1 + math.cos(math.pi * epoch_idx / self.epochs)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return super()._train_epoch(train_data, epoch_idx, *args, **kwargs)

    def batches(self, epoch: int) -> Iterator[PairBatch]:
        cut = self._cut(epoch)
        for number, sources in enumerate(cut):
            steps = epoch * len(cut) + number
            yield self._batch(sources, max(_DECAY**steps, _COLDEST))

    def _cut(self, epoch: int) -> list[np.ndarray]:
        """Batches of sources with about ``regenerator_batch_size`` pairs, in random order.

        Sources are drawn in random lots. The sources of a lot are sorted by length, so there is little padding.
        """
        rng = np.random.default_rng((self.config["seed"], epoch))
        count = np.bincount(self.pairs.sequence, minlength=len(self.pairs.sequences))
        order = rng.permutation(np.flatnonzero(count))
        size = self.config["regenerator_batch_size"]
        lot = np.cumsum(count[order]) // (_LOT * size)
        order = order[np.lexsort((self.pairs.sequences.lengths[order], lot))]
        batches = np.split(order, np.flatnonzero(np.diff(np.cumsum(count[order]) // size)) + 1)
        return [batches[number] for number in rng.permutation(len(batches))]

    def _batch(self, sources: np.ndarray, temperature: float) -> PairBatch:
        begin = np.searchsorted(self.pairs.sequence, sources)
        count = np.searchsorted(self.pairs.sequence, sources, side="right") - begin
        pattern = self.pairs.pattern[spans(begin, count)]
        source = source_tokens(self.pairs.sequences, sources, self.model)
        target = target_tokens(self.pairs.patterns, pattern, self.model)
        of = torch.from_numpy(np.repeat(np.arange(len(sources)), count))
        return PairBatch(source.to(self.device), of.to(self.device), target.to(self.device), temperature)

    def loss(self, batch: PairBatch) -> Tensor:
        weight = self.config["regenerator_entropy_weight"]
        return self.model.loss(batch.source, batch.of, batch.target, batch.temperature, weight)


def target_tokens(patterns: Patterns, rows: np.ndarray, model: Regenerator) -> Tensor:
    """[P, T] SOS, the items of each pattern, EOS, 0 on the right."""
    length = patterns.offsets[rows + 1] - patterns.offsets[rows]
    tokens = np.zeros((len(rows), int(length.max()) + 2), np.int64)
    tokens[:, 0] = model.sos
    nth = ragged_arange(length)
    tokens[np.repeat(np.arange(len(rows)), length), nth + 1] = patterns.items[
        np.repeat(patterns.offsets[:-1][rows], length) + nth
    ]
    tokens[np.arange(len(rows)), length + 1] = model.eos
    return torch.from_numpy(tokens)
