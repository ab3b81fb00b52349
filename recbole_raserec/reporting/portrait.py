"""A portrait of retrieval for the test users: similarity of memories, a map, and some users in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.combination import BACKBONE
from recbole_raserec.retrieval.explain import people, sentence
from recbole_raserec.retrieval.memory import MemoryBank, normalise
from recbole_raserec.retrieval.neighbours import NO_MEMORY
from recbole_raserec.training.queries import Queries
from recbole_raserec.training.rank import Ranked

BINS = 20  # of the similarity histograms, from -1 to 1
MAP_USERS, MAP_MEMORIES = 300, 3  # users on the map, and memories of each
EXAMPLES, SHOWN_HISTORY, SHOWN_ITEMS, SHOWN_MEMORIES = 5, 8, 5, 5


def neighbourhood(cosine: np.ndarray, found: np.ndarray, memory: MemoryBank, targets: np.ndarray) -> dict[str, Any]:
    """Histograms of the similarity of the nearest and of the last memory, and the fraction of memories ever retrieved.

    Parameters
    ----------
    cosine, found : [R, K] cosines and indices of each user's memories, from the memory bank.
    targets : [R] items to predict.
    """
    edges = np.linspace(-1, 1, BINS + 1)
    real = found != NO_MEMORY
    last = np.where(real.any(axis=1), real.sum(axis=1) - 1, 0)
    sides = {"nearest": cosine[:, 0], "last": cosine[np.arange(len(cosine)), last]}
    hit = (memory.targets[np.maximum(found, 0)] == targets[:, None]) & real
    return {
        "edges": [round(float(edge), 3) for edge in edges],
        **{name: np.histogram(side[np.isfinite(side)].clip(-1, 1), edges)[0].tolist() for name, side in sides.items()},
        "memories": len(memory),
        "retrieved_share": round(len(np.unique(found[real])) / max(len(memory), 1), 6),
        "target_among_memories": round(float(hit.any(axis=1).mean()), 6),
    }


def plane(
    vectors: np.ndarray, found: np.ndarray, memory: MemoryBank, base: Ranks, new: Ranks, seed: int
) -> dict[str, Any]:
    """At most 300 users and their nearest memories, on the two main axes of both (PCA of unit vectors).

    ``users`` are [x, y, gain]. The gain is 1 if RaSeRec ranks the target higher than the backbone, -1 if lower,
    and 0 if the ranks are equal.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:MAP_USERS])
    near = np.unique(found[rows, :MAP_MEMORIES])
    near = near[near != NO_MEMORY]
    points = np.concatenate([normalise(vectors[rows]), normalise(memory.keys[near])]).astype(np.float64)
    points = points - points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(points, full_matrices=False)
    at = (points @ axes[:2].T).round(4)
    gain = np.sign(base.unmasked[rows].astype(int) - new.unmasked[rows])
    explained = float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-12))
    return {
        "users": [[*xy, int(sign)] for xy, sign in zip(at[: len(rows)].tolist(), gain)],
        "memories": at[len(rows) :].tolist(),
        "explained": round(explained, 4),
    }


def portrait(model: RaSeRec, ranked: Ranked, dataset: Any, seed: int) -> dict[str, Any]:
    """``{"neighbourhood": ..., "plane": ..., "examples": [...]}`` of the memory that the headline figures are of.

    The examples are users drawn at random, not chosen.

    Parameters
    ----------
    dataset : it names the items.
    seed : of the draws.
    """
    queries, memory = ranked.queries, ranked.memory
    assert queries.indices is not None
    part, vectors, found = queries.prefixes, queries.vectors.numpy(), queries.indices.numpy()
    here = queries.to(model.item_vectors.device, found.shape[1])
    cosine = memory.cosines(vectors, found)
    base, new = ranked.ranks["backbone"], ranked.ranks[ranked.headline]
    name = item_names(dataset)
    rows = np.sort(np.random.default_rng(seed + 1).permutation(len(part))[:EXAMPLES]).tolist()
    return {
        "neighbourhood": neighbourhood(cosine, found, memory, part.targets),
        "plane": plane(vectors, found, memory, base, new, seed),
        "examples": [
            {
                "reasons": _reasons(memory, found[row], best["raserec"], model.combination.retrieves),
                "history": [name(item) for item in _history(part, row)],
                "target": name(part.targets[row]),
                "rank": {"backbone": int(base.unmasked[row]), "raserec": int(new.unmasked[row])},
                **{side: [name(item) for item in items] for side, items in best.items()},
                "memories": [
                    {"target": name(memory.targets[m]), "similarity": round(float(c), 4)}
                    for m, c in zip(found[row, :SHOWN_MEMORIES], cosine[row])
                    if m != NO_MEMORY
                ],
            }
            for row, best in ((row, _best(model, here, row)) for row in rows)
        ],
    }


def item_names(dataset: Any) -> Callable[[int], str]:
    """A function that names an item: its title if the features have one and ``--load_col`` loads it, else its token."""
    tokens = dataset.field2id_token
    titles = [field for field in (dataset.item_feat or ()) if "title" in field]

    def name(item: int) -> str:
        if not titles:
            return str(tokens[dataset.iid_field][item])
        words = np.atleast_1d(dataset.item_feat[titles[0]][item].numpy())
        return " ".join(str(tokens[titles[0]][word]) for word in words if word)

    return name


def _history(part: Prefixes, row: int) -> np.ndarray:
    stop = part.target_at[row]
    return part.sequences.items[max(part.sequences.offsets[part.sequence[row]], stop - SHOWN_HISTORY) : stop]


def _reasons(memory: MemoryBank, found: np.ndarray, items: list[int], used: bool) -> list[str]:
    """Why each of ``items`` is recommended to the user whose memories are ``found`` [K]."""
    return [sentence(*people(found, memory.targets[found], memory.owners[found], item), used) for item in items]


@torch.no_grad()
def _best(model: RaSeRec, queries: Queries, row: int) -> dict[str, list[int]]:
    """The items with the highest scores of the backbone and of RaSeRec for a row."""
    h, neighbours = queries[torch.tensor([row], device=queries.vectors.device)]
    found = {}
    for side, combination in (("backbone", BACKBONE), ("raserec", model.combination)):
        scores = model.scorer(combination)(h, neighbours)[1:, 0]  # without padding
        found[side] = (scores.topk(min(SHOWN_ITEMS, len(scores))).indices + 1).tolist()
    return found
