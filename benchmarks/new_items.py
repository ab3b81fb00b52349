"""Can items be recommended that training never saw? ``python benchmarks/new_items.py --data=Beauty.txt``.

  --data=FILE       sequences, a user a line (user item item ..., oldest item first)
  --share=0.05      fraction of the items that training must not see
  --seed=2020       of the choice of items and of the training
  --preset=         a preset of run, or nothing
  --k=20
  --folder=FOLDER   holds the data set and the checkpoints, so a stopped call goes on; by default a temporary one
  --output=FILE     benchmarks/results/new-items.json

The chosen items are taken out of all sequences, and a model is trained on the rest. Then the interactions with them
that leave-one-out trains on are added to the memory, and nothing is trained. The users are those whose last item
(test) or second last item (validation) is a chosen one. Chance is k divided by the number of items. Popularity
recommends the k most frequent items, of which the counts of the chosen ones are known. ``others`` are the users whose
last item is not a chosen one, before and after the addition.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from benchmarks import read_options  # noqa: E402
from recbole_raserec import Recommender, convert, run  # noqa: E402
from recbole_raserec.runtime.files import json_line, replacing  # noqa: E402
from recbole_raserec.runtime.machine import machine, versions  # noqa: E402

OPTIONS = {"data": "", "share": "0.05", "seed": "2020", "preset": "", "k": "20", "folder": ""}
PLACES = ("data_path", "checkpoint_dir")  # of the machine, not of the result
Sequences = dict[str, list[str]]


def main(argv: list[str]) -> None:
    options = read_options(argv, {**OPTIONS, "output": str(HERE / "results" / "new-items.json")})
    if not Path(options["data"]).is_file():
        sys.exit(f"error: --data={options['data']!r}: there is no such file")
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(options, Path(options["folder"] or temporary))
    with replacing(Path(options["output"])) as file:
        file.write_text(json_line(result) + "\n", encoding="utf-8")
    print(json_line(result["recall"]))


def measure(options: dict[str, str], folder: Path) -> dict[str, Any]:
    """Train without the chosen items, add their memories, and count hits."""
    seed, k = int(options["seed"]), int(options["k"])
    sequences = read(Path(options["data"]))
    chosen = choose(sequences, float(options["share"]), seed)
    source = folder / "without.txt"
    folder.mkdir(parents=True, exist_ok=True)
    rest = {user: [item for item in items if item not in chosen] for user, items in sequences.items()}
    source.write_text("".join(f"{user} {' '.join(items)}\n" for user, items in rest.items() if items))
    done = convert(source, "sequences", "without", folder, show_progress=False)
    given = {"data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "resume": True, "seed": seed}
    preset = {"preset": options["preset"]} if options["preset"] else {}
    trained = run("RaSeRec", "without", config_dict={**given, **preset, "show_progress": False})
    assert trained is not None and trained.model_file is not None
    store = folder / f"{options['preset'] or 'default'}.memory"
    for file in folder.glob(f"{store.name}*"):
        file.unlink()
    recommender = Recommender.load(trained.model_file, store=store)
    others = [user for user, items in sequences.items() if len(items) > 2 and items[-1] not in chosen]
    before = hits(recommender, sequences, others, 1, k)
    added = add(recommender, sequences, chosen)
    known = {user: items[:-2] for user, items in sequences.items()}
    recall: dict[str, Any] = {"chance": k / len({item for items in sequences.values() for item in items})}
    for part, back in (("test", 1), ("validation", 2)):
        users = [user for user, items in sequences.items() if len(items) > back + 1 and items[-back] in chosen]
        recall[part] = {
            "users": len(users),
            "ours": float(np.mean(hits(recommender, sequences, users, back, k))),
            "popularity": float(np.mean(popular(known, sequences, users, back, k))),
        }
    after = hits(recommender, sequences, others, 1, k)
    recall["others"] = {"users": len(others), "before": float(np.mean(before)), "after": float(np.mean(after))}
    return {
        "recall": recall,
        "k": k,
        "chosen_items": len(chosen),
        "added_memories": added,
        "options": {name: value for name, value in options.items() if name not in ("data", "folder", "output")},
        "data": Path(options["data"]).name,
        "trained_on_sha256": done.sha256,
        "config": {name: value for name, value in trained.config.items() if name not in PLACES},
        "versions": versions(),
        "machine": machine(str(trained.config["device"])),
    }


def read(path: Path) -> Sequences:
    """User -> items, oldest first."""
    return {user: items for user, *items in (line.split() for line in path.read_text().splitlines())}


def choose(sequences: Sequences, share: float, seed: int) -> set[str]:
    """A random fraction of all items."""
    items = sorted({item for items in sequences.values() for item in items}, key=int)
    return set(np.random.default_rng(seed).choice(items, round(share * len(items)), replace=False).tolist())


def add(recommender: Recommender, sequences: Sequences, chosen: set[str]) -> int:
    """Remember the interactions with the chosen items that leave-one-out trains on. Return how many."""
    known = set(recommender.items)
    rows = [
        (items[:at], items[at], user)
        for user, items in sequences.items()
        for at in range(1, len(items) - 2)
        if items[at] in chosen and known & set(items[:at])
    ]
    histories, targets, owners = zip(*rows)
    recommender.memory.add_many(list(histories), targets, owners, on_unknown="ignore")
    return len(rows)


def hits(recommender: Recommender, sequences: Sequences, users: list[str], back: int, k: int) -> list[bool]:
    """Whether the item ``back`` from the end is among the ``k`` best, for each user."""
    histories = [sequences[user][:-back] for user in users]
    frame = recommender.recommend(histories, k, filter_seen=False, users=users, on_unknown="ignore")
    best = frame.groupby("user")["item"].agg(set).to_dict()
    return [sequences[user][-back] in best[user] for user in users]


def popular(known: Sequences, sequences: Sequences, users: list[str], back: int, k: int) -> list[bool]:
    """The same of the ``k`` most frequent items."""
    names, counts = np.unique([item for items in known.values() for item in items], return_counts=True)
    best = set(names[np.argsort(-counts, kind="stable")[:k]].tolist())
    return [sequences[user][-back] in best for user in users]


if __name__ == "__main__":
    main(sys.argv[1:])
