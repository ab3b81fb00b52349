"""The course of a stage's training: what it leaves behind beside weights, and the seed of each of its epochs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

OnEpoch = Callable[[str, float], None]  # stage and validation score, after each validation


@dataclass(frozen=True)
class Course:
    """How a stage was trained.

    Attributes
    ----------
    curve : validation score of every evaluated epoch.
    losses : sum over the batches of every epoch.
    earlier : seconds that the processes before a resumption trained.
    """

    curve: list[float]
    losses: list[float]
    earlier: float


def seed_of(seed: int, stage: str, epoch: int) -> int:
    """A seed of its own for every epoch of every stage."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()[:4], "little") >> 1
