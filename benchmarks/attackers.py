"""The attackers of benchmarks/poisoning.py, and the users whom they want to reach."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.new_items import Sequences
from recbole_raserec import Recommender
from recbole_raserec.data.histories import read_histories
from recbole_raserec.recommending.answer import View
from recbole_raserec.recommending.catalogue import catalogue
from recbole_raserec.recommending.request import Request, numbered
from recbole_raserec.retrieval.combination import Combination
from recbole_raserec.retrieval.guard import Guard
from recbole_raserec.retrieval.index import normalise
from recbole_raserec.retrieval.segments import Segment, Tail
from recbole_raserec.retrieval.snapshot import Snapshot

K, EACH, KNOWN = 10, 5, 4000  # items of a list; memories of each of many owners; people whom the attacker knows
NEW = "an item that nobody knew"
COPIES = (1, 5)  # memories at one place that a choosing attacker tries
DEPTH = 200  # memories that a mixture reads


@dataclass(frozen=True, eq=False)
class Searched(Segment):
    """The model's memories, whose neighbours of all measured users are known."""

    found: np.ndarray = None  # type: ignore[assignment]

    def search(self, queries: np.ndarray, owners: np.ndarray, lengths: np.ndarray, k: int) -> np.ndarray:
        return self.found


@dataclass(frozen=True, eq=False)
class Stage:
    """The users who are measured, and their answers before the attack.

    Attributes
    ----------
    view : the model and its own memories, of class Searched.
    users : [B, D] augmented user vectors before the attack. A mixture changes the scores of neighbours' items only.
    scores : [B, V] of the model's items before the attack.
    least : [B] score of each user's K-th best item before the attack.
    """

    view: View
    request: Request
    vectors: np.ndarray
    users: np.ndarray
    scores: np.ndarray
    least: np.ndarray

    def share(self, keys: np.ndarray, target: int, owners: str, guard: Guard) -> float:
        """The fraction of users whose list holds the target after memories with ``keys`` [n, D] were added."""
        view = self.attacked(keys, target, owners, guard)
        found = view.retrieve(self.vectors, self.request)
        if not view.catalogue.allowed[target]:
            return 0.0
        new = target >= self.scores.shape[1]
        score = self.users @ view.catalogue.scorer.items[target].numpy() if new else self.scores[:, target]
        inside = score >= self.least
        changed = np.flatnonzero((found >= len(view.snapshot.base)).any(axis=1))
        for rows in np.array_split(changed, len(changed) // 512 + 1):
            if len(rows):
                scores = masked(view, self.request.take(rows), view.scores(self.vectors[rows], found[rows]))
                inside[rows] = (scores > scores[:, target, None]).sum(axis=1) < K
        seen = [target in items for items in self.request.items]
        return float((inside & ~np.array(seen)).mean())

    def attacked(self, keys: np.ndarray, target: int, owners: str, guard: Guard) -> View:
        """The view after the addition."""
        n, first = len(keys), len(self.view.trained.users)
        tail, base = Tail(keys.shape[1]), self.view.snapshot.base
        tail.append(
            keys=keys, targets=np.full(n, target, np.int32), lengths=np.full(n, 5, np.int32), times=np.full(n, np.nan),
            owners=(first + (np.arange(n) // EACH if owners == "many" else np.zeros(n))).astype(np.int32),
            ids=len(base) + 1 + np.arange(n), added=np.ones(n),
        )  # fmt: skip
        snapshot = Snapshot(base, tail.segment(), guard)
        return View(self.view.trained, snapshot, catalogue(self.view.trained, snapshot))


def prepare(recommender: Recommender, sequences: Sequences, count: int, combination: Combination | None) -> Stage:
    """Draw the users, and answer them once. Without a ``combination`` the model keeps its own.

    Raises
    ------
    ValueError : the scores are adjusted by popularity.
    """
    model = recommender.view().trained.model
    if combination is not None:
        model.combination = combination
        if combination.mixture.weight:
            model.voters = model.depth = DEPTH
    if model.combination.adjustment:
        raise ValueError(f"popularity_adjustment={model.combination.adjustment}: new items are scored without one here")
    known = replace(recommender.view(), catalogue=catalogue(recommender.view().trained, recommender.view().snapshot))
    names = [user for user, items in sequences.items() if len(items) > 2]
    names = np.random.default_rng(0).choice(names, min(count, len(names)), replace=False).tolist()
    given = read_histories([sequences[user][:-1] for user in names], names)
    request = numbered(given, known.trained.items, known.trained.users, "ignore")
    request = request.take(np.flatnonzero(~known.is_cold(request)))
    vectors = known.encode(request)
    found = known.retrieve(vectors, request)
    blocks = [
        masked(known, request.take(rows), known.scores(vectors[rows], found[rows])) for rows in known.blocks(request)
    ]
    scores, users = np.concatenate(blocks), known.users(vectors, found)
    known.trained.items.add(NEW)
    base = known.snapshot.base
    snapshot = replace(known.snapshot, base=Searched(base.bank, base.ids, base.dead, base.added, found))
    view = View(known.trained, snapshot, catalogue(known.trained, snapshot))
    return Stage(view, request, vectors, users, scores, np.partition(scores, -K, axis=1)[:, -K])


def masked(view: View, request: Request, scores: np.ndarray) -> np.ndarray:
    """The scores of what may be recommended: no padding, and nothing of the history."""
    scores[:, ~view.catalogue.allowed] = -np.inf
    for row, items in enumerate(request.items):
        scores[row, items] = -np.inf
    return scores


def targets(stage: Stage, seed: int) -> dict[str, int]:
    """An item of each kind."""
    counts, rng = stage.view.trained.counts, np.random.default_rng(seed)
    order = 1 + np.argsort(counts[1:], kind="stable")
    tenth = len(order) // 10
    new = stage.view.trained.items.find(NEW)
    assert new is not None
    return {"new": new, "rare": int(rng.choice(order[:tenth])), "median": int(rng.choice(order[5 * tenth : 6 * tenth]))}


def attacks(stage: Stage, seed: int, most: int) -> dict[str, list[np.ndarray]]:
    """Lists of keys [most, D] that each attacker tries."""
    keys, rng = stage.view.snapshot.base.bank.keys, np.random.default_rng(seed)
    return {"random": [keys[rng.integers(0, len(keys), most)]], "chosen": chosen_keys(stage, rng, most)}


def chosen_keys(stage: Stage, rng: np.random.Generator, most: int) -> list[np.ndarray]:
    """The places near most people whom the attacker knows, each as often as one of ``COPIES``."""
    bank, places = stage.view.snapshot.base.bank, stage.view.trained.model.depth
    last = np.flatnonzero(np.r_[bank.owners[1:] != bank.owners[:-1], True])
    last = last[~np.isin(bank.owners[last], stage.request.owners)]
    people = bank.keys[rng.choice(last, min(KNOWN, len(last)), replace=False)]
    near = bank.search(people, np.full(len(people), -1), np.zeros(len(people), np.int64), places)
    reach = bank.cosines(people, near)[:, -1]  # from which on a memory is a neighbour
    candidates = bank.keys[rng.choice(len(bank), min(KNOWN, len(bank)), replace=False)]
    covers = normalise(candidates) @ normalise(people).T >= reach  # [candidates, people]
    order = candidates[cover(covers)]
    order = np.tile(order, (-(-most // len(order)), 1))
    return [np.repeat(order, copies, axis=0)[:most] for copies in COPIES]


def cover(covers: np.ndarray) -> list[int]:
    """The rows of ``covers`` [C, P], each the one with the most columns that no row before has, until all are had."""
    chosen, left, gain = [], np.ones(covers.shape[1], bool), covers.sum(axis=1)
    while gain.max() > 0:
        chosen.append(int(gain.argmax()))
        now = covers[chosen[-1]] & left
        gain = gain - covers[:, now].sum(axis=1)
        left &= ~now
    return chosen
