"""Full ranking under both protocols in one pass, without a [users, items] matrix of results.

``unmasked`` ranks the target among all items, as RecBole does for sequential models. ``masked`` ranks it among the
items that are not in the user's history before the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.progress import Progress

PROTOCOLS = ("unmasked", "masked")
# What the memory may hold in the test, and how tables call it; under a split by time there is a third one.
MEMORIES = {"train": "training pairs", "train+valid": "validation pairs too"}
MEMORIES_BY_TIME = {"train": "training pairs", "train+valid": "all before the test", "living": "all until then"}
LIVING = "living"
_MOST_SCORES = {"cpu": 5 * 2**18, "cuda": 2**25}  # floats held at once: 5 MiB, which stay in cache; 128 MiB
_SPILLED, _FEW, _MANY = 2**24, 64, 128  # floats; if fewer than 64 rows stay in cache, up to 128 are faster

# Rows [B] and a buffer [V, B] -> their scores, written to the buffer
Score = Callable[[np.ndarray, Tensor], Tensor]
# Changes scores [V, B] in place; what another one of the same rows has changed it replaces
Change = Callable[[Tensor], Tensor]
# Rows [B] and their scores [V, B] -> each change under which they are to be ranked
Changes = Callable[[np.ndarray, Tensor], Sequence[Change]]


@dataclass(frozen=True)
class Ranks:
    """Rank of every row's target, [R] each; 1 is the best. A target that may not be recommended has ``NEVER``."""

    unmasked: np.ndarray
    masked: np.ndarray

    NEVER = np.iinfo(np.int32).max

    def of(self, protocol: str) -> np.ndarray:
        """[R] ranks under ``unmasked`` or ``masked``."""
        return {"unmasked": self.unmasked, "masked": self.masked}[protocol]


def rank_targets(score: Score, items: Tensor, prefixes: Prefixes, block: int, progress: Progress = iter) -> Ranks:
    """Rank each row's target among all items except padding.

    Ties and NaN count against the target, so a model with equal scores for all items gets no hit. For masked
    ranks, the distinct history items above the target are subtracted. If the target itself is in the history,
    it cannot be recommended under this protocol, so it is a miss.

    Parameters
    ----------
    score : computes the scores of rows.
    items : [V, D] the item vectors; they give the number of items, the device and the precision.
    block : largest number of rows ranked at once. It is reduced if their scores would not stay in cache.
    """
    return rank_changes(score, lambda rows, scores: [lambda same: same], 1, items, prefixes, block, progress)[0]


@torch.no_grad()
def rank_changes(
    score: Score,
    changes: Changes,
    count: int,
    items: Tensor,
    prefixes: Prefixes,
    block: int,
    progress: Progress = iter,
) -> list[Ranks]:
    """As :func:`rank_targets`, under each of ``count`` changes of the same scores."""
    block = rows_at_once(items, block)
    buffers = items.new_empty(2, len(items) * min(block, len(prefixes)))
    found = [Ranks(*(np.empty(len(prefixes), np.int32) for _ in PROTOCOLS)) for _ in range(count)]
    rows = processes.share(np.arange(len(prefixes)))
    for part in progress([rows[start : start + block] for start in range(0, len(rows), block)]):
        scores, below = (b[: len(items) * len(part)].view(len(items), len(part)) for b in buffers)
        scores = score(part, scores)  # [V, B]
        scores[0] = -torch.inf
        for ranks, change in zip(found, changes(part, scores)):
            ranks.unmasked[part], ranks.masked[part] = _ranks(change(scores), below, prefixes, part)
    return [Ranks(*(processes.gather(ranks.of(protocol)[rows]) for protocol in PROTOCOLS)) for ranks in found]


def rows_at_once(items: Tensor, block: int) -> int:
    """How many rows of scores of all ``items`` [V, D] are ranked fastest at once, ``block`` at most."""
    cached = _MOST_SCORES.get(items.device.type, 2**20) // len(items)
    rows = cached if cached >= _FEW else min(_SPILLED // len(items), _MANY)
    return max(1, min(block, max(rows // 32 * 32, 32)))


def _ranks(scores: Tensor, below: Tensor, prefixes: Prefixes, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unmasked and masked ranks [B] of the rows ``part`` from scores [V, B]; ``below`` [V, B] is overwritten."""
    targets = torch.from_numpy(prefixes.take(part).targets).to(scores.device)
    own = scores.gather(0, targets[None])  # [1, B]
    torch.lt(scores, own, out=below)  # as floats: their sum is several times faster than that of booleans
    unmasked = (len(scores) - below.sum(dim=0)).to(torch.int32)
    row, item = (torch.from_numpy(a).to(scores.device) for a in prefixes.histories(part))
    seen_above = torch.zeros_like(unmasked)
    seen_above.index_add_(0, row, 1 - below[item, row].to(torch.int32))
    repeated = torch.zeros_like(unmasked)
    repeated.index_add_(0, row, (item == targets[row]).to(torch.int32))
    masked = torch.where(repeated > 0, Ranks.NEVER, unmasked - seen_above)
    return unmasked.cpu().numpy(), masked.cpu().numpy()
