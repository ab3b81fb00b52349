"""How many memories must be added to push an item into people's lists? ``python benchmarks/poisoning.py --name=value``.

  --model_file=FILE  a trained model
  --data=FILE        the sequences that it was trained on, a user a line (user item item ..., oldest item first)
  --users=1000       of them, drawn at random; a history is all items but the last
  --share=0.01       of these users whose ten best items must hold the target
  --seeds=2          of the targets and of the attackers' choices
  --most=10000       memories that an attacker adds at most
  --added=FILE       sequences with items that --data has not: what the defences cost those who add honestly
  --output=FILE      benchmarks/results/poisoning.json

An attacker adds memories that lead from a history to the target. ``random`` histories are those of any memories.
``chosen`` ones come from an attacker who knows the model and how people's histories lie: each next one is where the
most people are of whom none of the ones before is a neighbour, with one or five memories at the same place, whatever
is best. The people whom the attacker knows are not those who are measured. Targets are an item that nobody knew, one of
the tenth of items with the fewest interactions, and one of the middle tenth. One owner adds all, or each of many
owners adds five. The figure is the fewest memories to a tenth, by bisection over the beginnings of one list. The
model is measured as it was trained, without a mixture, and with a mixture over 200 memories.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import new_items, read_options  # noqa: E402
from benchmarks.attackers import EACH, Stage, attacks, prepare, targets  # noqa: E402
from recbole_raserec import Recommender  # noqa: E402
from recbole_raserec.retrieval.combination import FULL, Combination  # noqa: E402
from recbole_raserec.retrieval.guard import Guard  # noqa: E402
from recbole_raserec.retrieval.mixture import Mixture  # noqa: E402
from recbole_raserec.runtime.files import json_line, replacing  # noqa: E402
from recbole_raserec.runtime.machine import machine, versions  # noqa: E402

OPTIONS = {
    "model_file": "", "data": "", "users": "1000", "share": "0.01", "seeds": "2", "most": "10000", "added": "",
}  # fmt: skip
Case = tuple[int, int, float, int, str]
MODELS: dict[str, Combination | None] = {
    "as trained": None,
    "no mixture": FULL,
    "mixture 0.3": Combination(Mixture(weight=0.3, tau=0.3)),  # like those that validation chose for preset full
}
RECOMMENDED = {
    "max_per_owner": 100, "votes_per_owner": 1, "new_item_owners": 3, "quarantine": 86_400, "max_adds": 60,
}  # fmt: skip
LIMITS: dict[str, dict[str, Any]] = {
    "without": {},
    **{name: {name: RECOMMENDED[name]} for name in ("max_per_owner", "votes_per_owner", "new_item_owners")},
}
LIMITS["all"] = {name: value for limit in LIMITS.values() for name, value in limit.items()}
GUARDS = {name: Guard(**limits) for name, limits in LIMITS.items()}


def main(argv: list[str]) -> None:
    options = read_options(argv, {**OPTIONS, "output": str(HERE / "results" / "poisoning.json")})
    for name in ("model_file", "data", *(["added"] if options["added"] else [])):
        if not Path(options[name]).is_file():
            sys.exit(f"error: --{name}={options[name]!r}: there is no such file")
    result = measure(options)
    if options["added"]:
        result["cost"] = cost(options)
    with replacing(Path(options["output"])) as file:
        file.write_text(json_line(result) + "\n", encoding="utf-8")


def measure(options: dict[str, str]) -> dict[str, Any]:
    """The fewest memories of each attack, with each defence."""
    rows: list[dict[str, Any]] = []
    models: dict[str, Any] = {}
    for name, combination in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            recommender = Recommender.load(options["model_file"], store=Path(folder) / "none.memory")
            stage = prepare(recommender, new_items.read(Path(options["data"])), int(options["users"]), combination)
        model = stage.view.trained.model
        models[name] = {**model.combination.plain(), "voters": model.voters}
        for seed in range(int(options["seeds"])):
            for row in of_seed(stage, seed, int(options["most"]), float(options["share"])):
                rows.append({"model": name, "seed": seed, **row})
                print(rows[-1], flush=True)
    data = Path(options["data"])
    return {
        "rows": rows,
        "users": len(stage.request),
        "memories": len(recommender.memory),
        "memories_of_each_of_many": EACH,
        "recommended": RECOMMENDED,
        "models": models,
        "options": {key: options[key] for key in ("users", "share", "seeds", "most")},
        "model": stage.view.trained.digest,
        "data": data.name,
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "versions": versions(),
        "machine": machine("cpu"),
    }


def of_seed(stage: Stage, seed: int, most: int, share: float) -> Iterator[dict[str, Any]]:
    """A row for each attack, target and number of owners."""
    for attack, lists in attacks(stage, seed, most).items():
        known: list[dict[Case, float]] = [{} for _ in lists]
        for kind, target in targets(stage, seed).items():
            for owners in ("one", "many"):
                tried = [Attack(stage, keys, target, owners, share, seen) for keys, seen in zip(lists, known)]
                found = [needed(attacker, most) for attacker in tried]
                yield {
                    "attack": attack,
                    "target": kind,
                    "owners": owners,
                    **{name: best([of[name] for of in found]) for name in GUARDS},
                    "share_of_most": max((s for one in tried if (s := one.share_of(most)) is not None), default=None),
                }


def needed(attack: Attack, most: int) -> dict[str, int | None]:
    """The fewest memories with each limit. What fails without a limit is not tried with one."""
    without = fewest(attack.reaches(Guard()), most)
    found: dict[str, int | None] = {"without": without}
    for name, guard in GUARDS.items():
        limit = guard.max_per_owner if attack.owners == "one" and guard.max_per_owner else most
        if name != "without":
            found[name] = None if without is None or without > limit else fewest(attack.reaches(guard), limit)
    return found


@dataclass(frozen=True)
class Attack:
    """One attacker's list of memories, and the share of users to reach. ``known`` keeps what was measured."""

    stage: Stage
    keys: np.ndarray
    target: int
    owners: str
    share: float
    known: dict[Case, float]

    def reaches(self, guard: Guard) -> Callable[[int], bool]:
        """Whether the first n memories are enough."""
        return lambda n: self.of(n, guard) >= self.share

    def of(self, n: int, guard: Guard) -> float:
        """The share of users after the first n memories."""
        case = self.case(n, guard)
        if case not in self.known:
            of = Guard(votes_per_owner=case[2], new_item_owners=case[3])
            self.known[case] = self.stage.share(self.keys[:n], self.target, self.owners, of)
        return self.known[case]

    def share_of(self, n: int) -> float | None:
        """The share after n memories without a limit; None if fewer were enough, so that it was not measured."""
        return self.known.get(self.case(n, Guard()))

    def case(self, n: int, guard: Guard) -> Case:
        """What the share depends on: memories, target, limits that bind, and the owners if they matter."""
        votes = guard.votes_per_owner if self.owners == "one" or guard.votes_per_owner < EACH else 0.0
        new = guard.new_item_owners if self.target >= self.stage.scores.shape[1] else 0
        return n, self.target, votes, new, self.owners if votes or new else ""


def best(found: list[int | None]) -> int | None:
    """The smallest number, if there is one."""
    return min((n for n in found if n is not None), default=None)


def fewest(succeeds: Callable[[int], bool], most: int) -> int | None:
    """The smallest n from 1 to ``most`` that succeeds, if more never do worse; None if ``most`` fails."""
    low, high = 0, 10
    while not succeeds(min(high, most)):
        if high >= most:
            return None
        low, high = high, high * 3 if str(high)[0] == "1" else high // 3 * 10
    high = min(high, most)
    while high - low > max(1, high // 10):  # to a tenth
        middle = (low + high) // 2
        low, high = (low, middle) if succeeds(middle) else (middle, high)
    return high


def cost(options: dict[str, str]) -> dict[str, Any]:
    """R@20 of users whose next item is new and of others, drawn at random, when people add what they chose."""
    sequences, found = new_items.read(Path(options["added"])), {}
    for name, limits in LIMITS.items():
        with tempfile.TemporaryDirectory() as folder:
            recommender = Recommender.load(options["model_file"], store=Path(folder) / "cost.memory", **limits)
            chosen = {item for items in sequences.values() for item in items} - set(recommender.items)
            added = new_items.add(recommender, sequences, chosen)
            recall = {}
            for kind in ("new", "others"):
                users = [user for user, items in sequences.items() if len(items) > 2]
                users = [user for user in users if (sequences[user][-1] in chosen) == (kind == "new")]
                users = np.random.default_rng(0).permutation(users)[: int(options["users"])].tolist()
                recall[kind] = float(np.mean(new_items.hits(recommender, sequences, users, 1, 20)))
        found[name] = {"memories": added, **recall}
        print(name, found[name], flush=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
