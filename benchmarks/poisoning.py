"""How many memories must be added to push an item into people's lists? ``python benchmarks/poisoning.py --name=value``.

  --model_file=FILE  a trained model
  --data=FILE        the sequences that it was trained on, a user a line (user item item ..., oldest item first)
  --users=2000       of them, drawn at random; a history is all items but the last
  --share=0.01       of these users whose ten best items must hold the target
  --seeds=3          of the targets and of the attackers' choices
  --most=30000       memories that an attacker adds at most
  --added=FILE       sequences with items that --data has not: what the defences cost those who add honestly
  --output=FILE      benchmarks/results/poisoning.json

An attacker adds memories that lead from a history to the target. ``random`` histories are those of any memories.
``chosen`` ones come from an attacker who knows the model and how people's histories lie: each next one is where the
most people are of whom none of the ones before is a neighbour, and twenty memories lead from it, so that they fill all
places of a neighbourhood. The people whom the attacker knows are not those who are measured. Targets are an item that
nobody knew, one of the tenth of items with the fewest interactions, and one of the middle tenth. One owner adds all,
or each of many owners adds five. The figure is the fewest memories, by bisection over the beginnings of one list.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import new_items, read_options  # noqa: E402
from recbole_raserec import Recommender  # noqa: E402
from recbole_raserec.data.histories import read_histories  # noqa: E402
from recbole_raserec.recommending.answer import View  # noqa: E402
from recbole_raserec.recommending.catalogue import catalogue  # noqa: E402
from recbole_raserec.recommending.request import Request, numbered  # noqa: E402
from recbole_raserec.retrieval.index import normalise  # noqa: E402
from recbole_raserec.retrieval.segments import Segment, Tail  # noqa: E402
from recbole_raserec.retrieval.snapshot import Snapshot  # noqa: E402
from recbole_raserec.runtime.files import json_line, replacing  # noqa: E402
from recbole_raserec.runtime.machine import machine, versions  # noqa: E402

OPTIONS = {
    "model_file": "", "data": "", "users": "2000", "share": "0.01", "seeds": "3", "most": "30000", "added": "",
}  # fmt: skip
K, EACH, KNOWN = 10, 5, 4000  # items of a list; memories of each of many owners; people whom the attacker knows
NEW = "an item that nobody knew"
DEFENCES = {"max_per_owner": 100, "votes_per_owner": 5, "max_adds": 60, "quarantine": 86_400}  # as docs/serving.md
COSTS: dict[str, dict[str, float]] = {
    "without": {},
    "max_per_owner": {"max_per_owner": 100},
    "votes_per_owner": {"votes_per_owner": 5},
}


def main(argv: list[str]) -> None:
    options = read_options(argv, {**OPTIONS, "output": str(HERE / "results" / "poisoning.json")})
    for name in ("model_file", "data"):
        if not Path(options[name]).is_file():
            sys.exit(f"error: --{name}={options[name]!r}: there is no such file")
    result = measure(options)
    if options["added"]:
        result["cost"] = cost(options)
    with replacing(Path(options["output"])) as file:
        file.write_text(json_line(result) + "\n", encoding="utf-8")


def measure(options: dict[str, str]) -> dict[str, Any]:
    """The fewest memories of each attack, with equal votes and with ``votes_per_owner``."""
    with tempfile.TemporaryDirectory() as folder:
        recommender = Recommender.load(options["model_file"], store=Path(folder) / "none.memory")
        stage = prepare(recommender, new_items.read(Path(options["data"])), int(options["users"]))
    rows = []
    for seed in range(int(options["seeds"])):
        for attack, choose in {"random": random_keys, "chosen": chosen_keys}.items():
            rng = np.random.default_rng(seed)
            keys = choose(stage, rng, int(options["most"]))
            for kind, target in targets(stage, rng).items():
                for owners in ("one", "many"):
                    row: dict[str, Any] = {"seed": seed, "attack": attack, "target": kind, "owners": owners}
                    for name, votes in (("equal_votes", 0.0), ("votes_per_owner", float(DEFENCES["votes_per_owner"]))):
                        row[name] = fewest(
                            lambda n, of=(target, owners, votes): stage.share(keys[:n], *of) >= float(options["share"]),
                            len(keys),
                        )
                    rows.append(row)
                    print(row, flush=True)
    data = Path(options["data"])
    return {
        "rows": rows,
        "users": len(stage.request),
        "memories": len(recommender.memory),
        "memories_of_each_of_many": EACH,
        "defences": DEFENCES,
        "options": {name: options[name] for name in ("users", "share", "seeds", "most")},
        "model": stage.view.trained.digest,
        "data": data.name,
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "versions": versions(),
        "machine": machine("cpu"),
    }


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
    users : [B, D] augmented user vectors before the attack.
    least : [B] score of each user's K-th best item before the attack.
    """

    view: View
    request: Request
    vectors: np.ndarray
    users: np.ndarray
    least: np.ndarray

    def share(self, keys: np.ndarray, target: int, owners: str, votes: float) -> float:
        """The fraction of users whose list holds the target after memories with ``keys`` [n, D] were added."""
        view = self.attacked(keys, target, owners, votes)
        found = view.retrieve(self.vectors, self.request)
        score = self.users @ view.catalogue.scorer.items[target].numpy()
        inside = score >= self.least
        changed = np.flatnonzero((found >= len(view.snapshot.base)).any(axis=1))
        for rows in np.array_split(changed, len(changed) // 512 + 1):
            if len(rows):
                scores = masked(view, self.request.take(rows), view.scores(self.vectors[rows], found[rows]))
                inside[rows] = scores[:, target] >= np.partition(scores, -K, axis=1)[:, -K]
        seen = [target in items for items in self.request.items]
        return float((inside & ~np.array(seen)).mean())

    def attacked(self, keys: np.ndarray, target: int, owners: str, votes: float) -> View:
        """The view after the addition."""
        n, first = len(keys), len(self.view.trained.users)
        tail, base = Tail(keys.shape[1]), self.view.snapshot.base
        tail.append(
            keys=keys, targets=np.full(n, target, np.int32), lengths=np.full(n, 5, np.int32), times=np.full(n, np.nan),
            owners=(first + (np.arange(n) // EACH if owners == "many" else np.zeros(n))).astype(np.int32),
            ids=len(base) + 1 + np.arange(n), added=np.ones(n),
        )  # fmt: skip
        snapshot = Snapshot(base, tail.segment(), votes)
        return View(self.view.trained, snapshot, catalogue(self.view.trained, snapshot))


def prepare(recommender: Recommender, sequences: new_items.Sequences, count: int) -> Stage:
    """Draw the users, and answer them once."""
    known = recommender.view()
    if known.trained.model.mixture.weight:
        sys.exit("error: this measures models without a mixture")  # `share` uses that a score is a product
    names = [user for user, items in sequences.items() if len(items) > 2]
    names = np.random.default_rng(0).choice(names, min(count, len(names)), replace=False).tolist()
    given = read_histories([sequences[user][:-1] for user in names], names)
    request = numbered(given, known.trained.items, known.trained.users, "ignore")
    request = request.take(np.flatnonzero(~known.is_cold(request)))
    vectors = known.encode(request)
    found = known.retrieve(vectors, request)
    known.trained.items.add(NEW)
    base = known.snapshot.base
    snapshot = replace(known.snapshot, base=Searched(base.bank, base.ids, base.dead, base.added, found))
    view = View(known.trained, snapshot, catalogue(known.trained, snapshot))
    least = np.concatenate(
        [
            np.partition(masked(view, request.take(rows), view.scores(vectors[rows], found[rows])), -K, axis=1)[:, -K]
            for rows in view.blocks(request)
        ]
    )
    return Stage(view, request, vectors, view.users(vectors, found), least)


def masked(view: View, request: Request, scores: np.ndarray) -> np.ndarray:
    """The scores of what may be recommended: no padding, and nothing of the history."""
    scores[:, ~view.catalogue.allowed] = -np.inf
    for row, items in enumerate(request.items):
        scores[row, items] = -np.inf
    return scores


def targets(stage: Stage, rng: np.random.Generator) -> dict[str, int]:
    """An item of each kind."""
    counts = stage.view.trained.counts
    order = 1 + np.argsort(counts[1:], kind="stable")
    tenth = len(order) // 10
    new = stage.view.trained.items.find(NEW)
    assert new is not None
    return {"new": new, "rare": int(rng.choice(order[:tenth])), "median": int(rng.choice(order[5 * tenth : 6 * tenth]))}


def random_keys(stage: Stage, rng: np.random.Generator, most: int) -> np.ndarray:
    """[most, D] keys of the histories of any memories."""
    keys = stage.view.snapshot.base.bank.keys
    return keys[rng.integers(0, len(keys), most)]


def chosen_keys(stage: Stage, rng: np.random.Generator, most: int) -> np.ndarray:
    """[most, D] keys that cover the most people whom the attacker knows, each as often as a neighbourhood has places."""
    bank, places = stage.view.snapshot.base.bank, stage.view.trained.model.depth
    last = np.flatnonzero(np.r_[bank.owners[1:] != bank.owners[:-1], True])
    last = last[~np.isin(bank.owners[last], stage.request.owners)]
    people = bank.keys[rng.choice(last, min(KNOWN, len(last)), replace=False)]
    near = bank.search(people, np.full(len(people), -1), np.zeros(len(people), np.int64), places)
    reach = bank.cosines(people, near)[:, -1]  # from which on a memory is a neighbour
    candidates = bank.keys[rng.choice(len(bank), KNOWN, replace=False)]
    covers = normalise(candidates) @ normalise(people).T >= reach  # [candidates, people]
    chosen, left = [], np.zeros(len(people), bool)
    gain = np.zeros(len(candidates), np.int64)
    while len(chosen) * places < most:
        if gain.max() == 0:  # all are covered: begin again
            left[:], gain = True, covers.sum(axis=1)
        chosen.append(int(gain.argmax()))
        now = covers[chosen[-1]] & left
        gain = gain - covers[:, now].sum(axis=1)
        left &= ~now
    return np.repeat(candidates[chosen], places, axis=0)[:most]


def fewest(succeeds: Callable[[int], bool], most: int) -> int | None:
    """The smallest n from 1 to ``most`` that succeeds, if more never do worse; None if ``most`` fails."""
    low, high = 0, 10
    while not succeeds(min(high, most)):
        if high >= most:
            return None
        low, high = high, high * 3 if str(high)[0] == "1" else high // 3 * 10
    high = min(high, most)
    while high - low > max(1, high // 50):  # to 2 %
        middle = (low + high) // 2
        low, high = (low, middle) if succeeds(middle) else (middle, high)
    return high


def cost(options: dict[str, str]) -> dict[str, Any]:
    """R@20 of items that training never saw and of the others, with each defence, when people add what they chose."""
    sequences, found = new_items.read(Path(options["added"])), {}
    for name, guard in COSTS.items():
        with tempfile.TemporaryDirectory() as folder:
            recommender = Recommender.load(options["model_file"], store=Path(folder) / "cost.memory", **guard)
            chosen = {item for items in sequences.values() for item in items} - set(recommender.items)
            added = new_items.add(recommender, sequences, chosen)
            people = {"new": [], "others": []}
            for user, items in sequences.items():
                if len(items) > 2:
                    people["new" if items[-1] in chosen else "others"].append(user)
            people["others"] = people["others"][: int(options["users"])]
            recall = {
                kind: float(np.mean(new_items.hits(recommender, sequences, users, 1, 20)))
                for kind, users in people.items()
            }
        found[name] = {"memories": added, **recall}
        print(name, found[name], flush=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
