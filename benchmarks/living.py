"""What is a memory worth that goes on while the model stays? ``python benchmarks/living.py``.

  --dataset=ml-100k     a data set with times
  --data_path=          its folder; ml-100k is in RecBole's package
  --seeds=2020,2021,2022
  --filter=             fewest interactions of a user and of an item, such as [5,inf); none by default
  --shares=0.8,0.1,0.1  of the interactions, in the order of time: training, validation, test
  --folder=             of the checkpoints, so that a stopped call goes on; by default they are not kept
  --output=FILE         benchmarks/results/living-<data set>.json

With split=time a model is trained on what happened before one moment, and each user's first interaction after a later
moment is predicted. Three memories are compared under the same weights: the training pairs; these and all pairs up to
the later moment (frozen); and these and all pairs that are older than the one to predict (living). ``paper`` is
retrieval at full strength; ``default`` has the safeguard, which chooses on the validation part.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import read_options  # noqa: E402
from benchmarks.new_items import PLACES  # noqa: E402
from benchmarks.tables import ranks_of  # noqa: E402
from recbole_raserec import run  # noqa: E402
from recbole_raserec.evaluation.metrics import Metrics  # noqa: E402
from recbole_raserec.evaluation.ranking import MEMORIES_BY_TIME  # noqa: E402
from recbole_raserec.evaluation.significance import Resampling, improvements  # noqa: E402
from recbole_raserec.runtime.files import json_line, replacing  # noqa: E402

OPTIONS = {"dataset": "ml-100k", "data_path": "", "seeds": "2020,2021,2022", "filter": "", "shares": "0.8,0.1,0.1"}
FILTERED = ("user_inter_num_interval", "item_inter_num_interval")
PAPER = {"safeguard": False, "retrieval_strength": 1.0, "popularity_adjustment": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {"paper": PAPER, "default": {}}
SYSTEMS = ("backbone", *MEMORIES_BY_TIME)
PAIRS = {"living over frozen": ("train+valid", "living"), "living over backbone": ("backbone", "living")}


def main(argv: list[str]) -> None:
    options = read_options(argv, {**OPTIONS, "folder": "", "output": ""})
    output = Path(options.pop("output") or HERE / "results" / f"living-{options['dataset']}.json")
    kept = options.pop("folder")
    with tempfile.TemporaryDirectory() as folder:
        place = {"checkpoint_dir": kept or folder}
        variants = {name: measure(options, {**more, **place}) for name, more in VARIANTS.items()}
    del options["data_path"]  # of the machine; the result has the data's SHA-256
    with replacing(output) as file:
        file.write_text(json_line({"options": options, "variants": variants}) + "\n", encoding="utf-8")


def measure(options: dict[str, str], more: dict[str, Any]) -> dict[str, Any]:
    """The figures of each seed, and gains over the same users, means of all seeds."""
    place = {"data_path": options["data_path"]} if options["data_path"] else {}
    place |= dict.fromkeys(FILTERED, options["filter"]) if options["filter"] else {}
    fixed = {"split": "time", "time_shares": [float(share) for share in options["shares"].split(",")]}
    results = []
    for seed in map(int, options["seeds"].split(",")):
        settings = {**fixed, **place, **more, "seed": seed, "resume": True, "show_progress": False}
        results.append(run("RaSeRec", options["dataset"], config_dict=settings))
    first = results[0]
    ranks = {system: ranks_of(results, system) for system in SYSTEMS}
    metrics = Metrics.of(first["config"])
    gains = {
        name: improvements(ranks[base], ranks[new], metrics, Resampling.of(first["config"]))
        for name, (base, new) in PAIRS.items()
    }
    rows = [{"seed": result["seed"], "backbone": result["backbone"]["test"], **memories(result)} for result in results]
    facts = {name: first[name] for name in ("dataset", "test_users", "versions", "machine")}
    config = {name: value for name, value in first["config"].items() if name not in PLACES}
    return {**facts, "config": config, "rows": rows, "gains": gains}


def memories(result: Any) -> dict[str, Any]:
    return {name: part["test"] for name, part in result["raserec"]["test_by_memory"].items()}


if __name__ == "__main__":
    main(sys.argv[1:])
