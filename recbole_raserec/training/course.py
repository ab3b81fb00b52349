"""The course of a stage's training: its scores, losses and seconds, and the seed of each epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

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
