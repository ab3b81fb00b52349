"""Why an item is recommended: what each memory adds to its score, exactly, and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.retrieval.neighbours import NO_MEMORY


@dataclass(frozen=True)
class Reasons:
    """Where the score of an item comes from. ``score = own + sum(contribution) + constant``, before the mixture.

    Attributes
    ----------
    score : the item's score before the mixture.
    own : part of the history itself, (1 - s (1 - alpha)) h . item, where s is the strength of retrieval.
    constant : part of the attention's biases and of the item's bias, which holds the popularity adjustment.
    cosine : [K] of each memory, nearest first; -inf where there is none.
    attention : [K] share of each memory in the attention, 0 beyond the ``top_k`` memories that it reads.
    contribution : [K] what each memory adds to the score through the attention.
    vote : [K] weight of each memory's item in the mixture; they sum to the weight of the mixture.
    """

    score: float
    own: float
    constant: float
    cosine: np.ndarray
    attention: np.ndarray
    contribution: np.ndarray
    vote: np.ndarray

    @classmethod
    def of(
        cls,
        score: float,
        own: float,
        attention: Tensor,
        contribution: Tensor,
        cosine: Tensor,
        votes: Tensor,
    ) -> Reasons:
        """From the parts of :meth:`~recbole_raserec.retrieval.attention.RetrievalAugmentation.parts`, one history's."""
        real = bool((cosine > -torch.inf).any())

        def of_all(values: Tensor) -> np.ndarray:
            return torch.nn.functional.pad(values, (0, len(cosine) - len(values))).cpu().numpy()

        added = float(contribution.double().sum())
        return cls(
            score=score,
            own=own if real else score,
            constant=score - own - added if real else 0.0,
            cosine=cosine.cpu().numpy(),
            attention=of_all(attention),
            contribution=of_all(contribution),
            vote=of_all(votes),
        )


def people(found: np.ndarray, targets: np.ndarray, owners: np.ndarray, item: int) -> tuple[int, int]:
    """How many people chose ``item`` next, and how many people the memories are of. A memory of nobody counts as one.

    Parameters
    ----------
    found, targets, owners : [K] rows of the memories (``NO_MEMORY`` where there is none), their items and owners.
    """
    real = found != NO_MEMORY
    one_each = np.where(owners > 0, owners, -1 - np.arange(len(owners)))
    return len(np.unique(one_each[real & (targets == item)])), len(np.unique(one_each[real]))


POPULAR = "because it is popular"  # the sentence for a cold history


def sentence(chose: int, of: int, used: bool = True) -> str:
    """One sentence for people, from the counts of :func:`people`. Memories that are not ``used`` are no reason."""
    if of == 0 or not used:
        return "because it fits your history"
    who = "person" if chose == 1 else "people"
    if chose:
        return f"because {chose} {who} whose history looked like yours chose it next"
    who = "person" if of == 1 else f"{of} people"
    return f"because it fits your history; the {who} whose history looked most like yours chose others next"
