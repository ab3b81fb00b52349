"""The course of a stage's training: its scores, losses and seconds, the seed of each epoch, and its check."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from recbole_raserec.errors import ConfigError

OnEpoch = Callable[[str, float], None]  # stage and validation score, after each validation


@dataclass(frozen=True)
class Course:
    """The record of a stage's training.

    Attributes
    ----------
    curve : validation score of every evaluated epoch.
    losses : sum of the batch losses of every epoch.
    earlier : training seconds of the earlier processes, if the run was resumed.
    """

    curve: list[float]
    losses: list[float]
    earlier: float


def seed_of(seed: int, stage: str, epoch: int) -> int:
    """A different seed for every epoch of every stage."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()[:4], "little") >> 1


def validated_every(eval_step: int, epochs: int) -> int:
    """Epochs between two validations, as in RecBole: a stage shorter than ``eval_step`` has one, at its end."""
    return min(eval_step, epochs)


def check_finite(loss: float, model: nn.Module, place: str, rate: str, value: float) -> None:
    """Raise ConfigError if an epoch's loss or a weight is not finite, so that the epoch is not saved.

    The error names the learning rate: ``rate`` is its parameter.

    It is called once per epoch, because reading every loss would stall a GPU. No loss shows what the last step did.
    """
    problem = "" if math.isfinite(loss) else f"the loss is {loss}"
    if not problem and not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        problem = "a weight is not finite"
    if problem:
        raise ConfigError(rate, value, f"{problem} {place}", "make it smaller")
