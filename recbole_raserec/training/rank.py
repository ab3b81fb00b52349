"""The last stage: rank the test part by the backbone and with each memory. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.evaluation.ranking import LIVING, MEMORIES, Ranks
from recbole_raserec.retrieval.combination import BACKBONE, Combination
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.training.queries import Queries, rank_queries
from recbole_raserec.training.remember import Reader


@dataclass(frozen=True)
class Ranked:
    """The ranked test part.

    Attributes
    ----------
    ranks : ``backbone``, and by what the memory holds ``train`` and ``train+valid``; under a split by time also
        ``living``.
    headline : ``train`` or ``train+valid``, whose figures are the headline.
    queries : the test part, searched in the memory of the headline.
    """

    ranks: dict[str, Ranks]
    headline: str
    queries: Queries

    @property
    def memory(self) -> MemoryBank:
        """That of the headline."""
        assert self.queries.memory is not None
        return self.queries.memory


def headline_memory(include_valid: bool) -> str:
    """Which of ``MEMORIES`` the headline figures are of."""
    return "train+valid" if include_valid else "train"


def rank(reader: Reader, sequences: Sequences, memory: MemoryBank, include_valid: bool, block: int) -> Ranked:
    """Rank the test part.

    Under a split by time the living memory has, for each row, every pair that is older than the row. Nothing is
    trained anew.

    Parameters
    ----------
    memory : of training pairs; the pairs that are known when the test begins are joined to a copy.
    include_valid : whether the headline figures are of that copy.
    block : most rows ranked at once.
    """
    test, known, headline = sequences.test_part(), sequences.known_part(), headline_memory(include_valid)
    vectors = reader.encode(test)
    ranks = {"backbone": _rank(reader, Queries(test, torch.from_numpy(vectors)), block, BACKBONE)}
    both = memory.grown(reader.bank(known, reader.encode(known, "encode memory")))
    for name, held in zip(MEMORIES, (memory, both)):
        queries = reader.search(held, test, vectors, f"search {name}")
        ranks[name] = _rank(reader, queries, block)
        if name == headline:
            kept = queries
    if sequences.split is not None:
        later = sequences.later_part()
        living = both.grown(reader.bank(later, reader.encode(later, "encode memory")))
        ranks[LIVING] = _rank(reader, reader.search(living, test, vectors, "search living", before=test.times), block)
    return Ranked(ranks, headline, kept)


def rank_drift(
    reader: Reader, memory: MemoryBank, queries: Queries, shares: Sequence[float], block: int
) -> dict[float, tuple[int, Ranks]]:
    """Ranks with only the older ``share`` of every user's pairs: how many memories, and the ranks.

    Nothing is trained anew.

    Parameters
    ----------
    memory : of training pairs.
    queries : the rows to rank.
    """
    found = {}
    for share in shares:
        older = memory.older(share)
        searched = reader.search(older, queries.prefixes, queries.vectors.numpy(), f"search {share:.0%}")
        found[share] = len(older), _rank(reader, searched, block)
    return found


def _rank(reader: Reader, queries: Queries, block: int, combination: Combination | None = None) -> Ranks:
    """Ranks by the model's own combination, or by another one."""
    model = reader.model
    model.eval()
    here = queries.to(model.item_vectors.device, model.depth)
    return rank_queries(model.scorer(combination), here, block, reader.show_progress)
