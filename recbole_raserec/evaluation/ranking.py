"""Full ranking under both protocols in one pass, without a [users, items] matrix of results.

``unmasked`` ranks the target among all items (RecBole's way for sequential models), ``masked`` among
those the user has not interacted with before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.progress import Progress

PROTOCOLS = ("unmasked", "masked")
_MOST_SCORES = {"cpu": 5 * 2**18, "cuda": 2**25}  # floats held at once: what stays in cache; 128 MiB

UserVectors = Callable[[np.ndarray], Tensor]  # rows [B] -> user vectors [B, D]
# rows [B] and scores [V, B], which it may change in place -> scores to rank by, each used before the next is asked for
Variants = Callable[[np.ndarray, Tensor], Iterable[Tensor]]


@dataclass(frozen=True)
class Ranks:
    """Rank of every row's target from 1, [R] each; a target that may not be recommended has ``NEVER``."""

    unmasked: np.ndarray
    masked: np.ndarray

    NEVER = np.iinfo(np.int32).max

    def of(self, protocol: str) -> np.ndarray:
        """[R] ranks under ``unmasked`` or ``masked``."""
        return {"unmasked": self.unmasked, "masked": self.masked}[protocol]


def rank_targets(
    user_vectors: UserVectors,
    item_vectors: Tensor,
    prefixes: Prefixes,
    block: int,
    progress: Progress = iter,
) -> Ranks:
    """Rank each row's target among all items but padding, by inner product.

    Ties and NaN count against the target: a model that scores everything alike gets no hit. Masked
    ranks subtract the distinct history items above the target; a target that is itself in the
    history cannot be recommended under that protocol and is a miss.

    Parameters
    ----------
    user_vectors : gives [B, D] for row numbers [B].
    item_vectors : [V, D], row 0 is padding.
    block : most rows ranked at once; fewer where their scores would not stay in cache.
    """
    return rank_variants(user_vectors, item_vectors, prefixes, block, lambda _, scores: [scores], 1, progress)[0]


@torch.no_grad()
def rank_variants(
    user_vectors: UserVectors,
    item_vectors: Tensor,
    prefixes: Prefixes,
    block: int,
    variants: Variants,
    count: int,
    progress: Progress = iter,
) -> list[Ranks]:
    """As :func:`rank_targets`, by each of the ``count`` things that ``variants`` makes of the inner products."""
    most = _MOST_SCORES.get(item_vectors.device.type, 2**20) // len(item_vectors)
    block = max(1, min(block, max(most // 32 * 32, 32)))
    buffers = item_vectors.new_empty(2, len(item_vectors) * min(block, len(prefixes)))
    found = [Ranks(*(np.empty(len(prefixes), np.int32) for _ in PROTOCOLS)) for _ in range(count)]
    rows = processes.share(np.arange(len(prefixes)))
    for part in progress([rows[start : start + block] for start in range(0, len(rows), block)]):
        # Items by users, not users by items: the shape that a CPU multiplies faster.
        scores, below = (b[: len(item_vectors) * len(part)].view(len(item_vectors), len(part)) for b in buffers)
        torch.mm(item_vectors, user_vectors(part).T, out=scores)  # [V, B]
        scores[0] = -torch.inf
        for ranks, variant in zip(found, variants(part, scores)):
            ranks.unmasked[part], ranks.masked[part] = _ranks(variant, below, prefixes, part)
    return [Ranks(*(processes.gather(ranks.of(protocol)[rows]) for protocol in PROTOCOLS)) for ranks in found]


def _ranks(scores: Tensor, below: Tensor, prefixes: Prefixes, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unmasked and masked ranks [B] of the rows ``part`` by scores [V, B]; ``below`` [V, B] is overwritten."""
    targets = torch.from_numpy(prefixes.targets[part]).to(scores.device)
    own = scores.gather(0, targets[None])  # [1, B]
    torch.lt(scores, own, out=below)  # ones as floats: summing them is several times faster than booleans
    unmasked = (len(scores) - below.sum(dim=0)).to(torch.int32)
    row, item = (torch.from_numpy(a).to(scores.device) for a in prefixes.histories(part))
    seen_above = torch.zeros_like(unmasked)
    seen_above.index_add_(0, row, 1 - below[item, row].to(torch.int32))
    repeated = torch.zeros_like(unmasked)
    repeated.index_add_(0, row, (item == targets[row]).to(torch.int32))
    masked = torch.where(repeated > 0, Ranks.NEVER, unmasked - seen_above)
    return unmasked.cpu().numpy(), masked.cpu().numpy()
