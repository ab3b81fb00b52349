"""What retrieval looks like on the test users: how near memories are, where they lie, and some users in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.model import RaSeRec
from recbole_raserec.retrieval.memory import NO_MEMORY, MemoryBank, normalise
from recbole_raserec.training.trainer import Queries, RaSeRecTrainer, augmented

BINS = 20  # of the similarity histograms, over [-1, 1]
MAP_USERS, MAP_MEMORIES = 300, 3  # users on the map, and memories of each
EXAMPLES, SHOWN_HISTORY, SHOWN_ITEMS, SHOWN_MEMORIES = 5, 8, 5, 5


def neighbourhood(cosine: np.ndarray, found: np.ndarray, memory: MemoryBank, targets: np.ndarray) -> dict[str, Any]:
    """Histograms of the similarity of the nearest and of the last memory, and what share is ever retrieved.

    Parameters
    ----------
    cosine, found : [R, K] memories of each user and their cosines, as MemoryBank has them.
    targets : [R] items to be predicted.
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
    """Users and their nearest memories on the two main axes of both (PCA of unit vectors), at most 300 users.

    ``users`` are [x, y, gain]: 1 where RaSeRec ranks the target higher than the backbone, -1 lower, 0 alike.
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


def portrait(trainer: RaSeRecTrainer, ranks: dict[str, Ranks], headline: str) -> dict[str, Any]:
    """``{"neighbourhood": ..., "plane": ..., "examples": [...]}`` of the memory that ``ranks[headline]`` is of.

    The examples are users drawn at random, not chosen.
    """
    model, part, seed = trainer.model, trainer.test_part, trainer.config["seed"]
    queries = trainer.test_queries()
    assert model.memory is not None and queries.neighbours is not None
    vectors, found = queries.vectors.numpy(), queries.neighbours.numpy()
    cosine = model.memory.cosines(vectors, found)
    base, new = ranks["backbone"], ranks[headline]
    rows = np.sort(np.random.default_rng(seed + 1).permutation(len(part))[:EXAMPLES])
    name = item_names(trainer.dataset)
    here = queries.to(trainer.config["device"], model.depth)
    return {
        "neighbourhood": neighbourhood(cosine, found, model.memory, part.targets),
        "plane": plane(vectors, found, model.memory, base, new, seed),
        "examples": [
            {
                "history": [name(item) for item in _history(part, row)],
                "target": name(part.targets[row]),
                "rank": {"backbone": int(base.unmasked[row]), "raserec": int(new.unmasked[row])},
                **{side: [name(item) for item in items] for side, items in _best(model, here, row).items()},
                "memories": [
                    {"target": name(model.memory.targets[m]), "similarity": round(float(c), 4)}
                    for m, c in zip(found[row, :SHOWN_MEMORIES], cosine[row])
                    if m != NO_MEMORY
                ],
            }
            for row in rows.tolist()
        ],
    }


def item_names(dataset: Any) -> Callable[[int], str]:
    """Title of an item where its features have one (``--load_col`` must load it), else the data's own token."""
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


@torch.no_grad()
def _best(model: RaSeRec, queries: Queries, row: int) -> dict[str, list[int]]:
    """The items that the backbone and RaSeRec score highest for a row."""
    at = torch.tensor([row], device=queries.vectors.device)
    found = {}
    for side, vector in (("backbone", queries.vectors[at]), ("raserec", augmented(model, queries, at))):
        user, items = model.scoring(vector)
        scores = items @ user.T  # [V, 1]
        scores[0] = -torch.inf
        if side == "raserec" and queries.neighbours is not None:
            scores = next(model.mixed(scores, queries.vectors[at], queries.neighbours[at]))
        found[side] = scores[:, 0].topk(min(SHOWN_ITEMS, len(scores) - 1)).indices.tolist()
    return found
