"""The last stage: rank the test part by the backbone and with each memory. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.evaluation.ranking import MEMORIES, Ranks
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.runtime.progress import timed
from recbole_raserec.training.queries import Queries, rank_queries
from recbole_raserec.training.remember import Reader


@dataclass(frozen=True)
class Ranked:
    """The ranked test part.

    Attributes
    ----------
    vectors : [R, D] user vectors of the backbone.
    ranks : ranks by the ``backbone``, and with the memories ``train`` and ``train+valid``.
    memories : the memory banks ``train`` and ``train+valid``.
    """

    vectors: np.ndarray
    ranks: dict[str, Ranks]
    memories: dict[str, MemoryBank]


def rank(reader: Reader, sequences: Sequences, memory: MemoryBank, block: int) -> Ranked:
    """Rank the test part.

    Parameters
    ----------
    memory : the bank of training pairs. The validation pairs are added to a copy of it.
    block : largest number of rows that are ranked at once.
    """
    test, valid = sequences.test_part(), sequences.valid_part()
    vectors = reader.encode(test)
    ranks = {"backbone": _rank(reader, Queries(test, torch.from_numpy(vectors)), block)}
    both = memory.join(reader.bank(valid, reader.encode(valid, "encode memory")))
    memories = dict(zip(MEMORIES, (memory, both)))
    for name, held in memories.items():
        ranks[name] = _rank(reader, reader.search(held, test, vectors, f"search {name}"), block)
    return Ranked(vectors, ranks, memories)


def rank_drift(
    reader: Reader,
    sequences: Sequences,
    ranked: Ranked,
    shares: Sequence[float],
    block: int,
    seconds: dict[str, float],
) -> dict[float, tuple[int, Ranks]]:
    """Number of memories and test ranks for each fraction in ``shares`` of every user's older training pairs.

    Nothing is trained again. If there are ``shares``, the time is added to ``seconds["drift"]``.
    """
    test, found = sequences.test_part(), {}
    for share in shares:
        with timed(seconds, "drift"):
            older = ranked.memories["train"].older(share)
            queries = reader.search(older, test, ranked.vectors, f"search {share:.0%}")
            found[share] = len(older), _rank(reader, queries, block)
    return found


def _rank(reader: Reader, queries: Queries, block: int) -> Ranks:
    model = reader.model
    model.eval()
    here = queries.to(model.item_vectors.device, model.depth)
    return rank_queries(model.scorer(), here, block, reader.show_progress)
