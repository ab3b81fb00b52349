"""Who gains under which combination of backbone and memories, of one trained model, without training:

  python benchmarks/combinations.py --model_file=saved/....pth --data_path=dataset --output=FILE.json

  --strengths=0.5,1 --adjustments=0,0.1,0.2   with the model's own mixture, and without it
  --users=0         so many users, drawn at random; 0 is all

The validation users are ranked under every combination, and the safeguard judges each. The test users are ranked under
the chosen one, the model's own one and the one with the best sum of both protocols whoever loses. The memory is the
model file's. The output has the groups of the test users, with paired intervals.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import read_options  # noqa: E402
from recbole_raserec.config.config import Config  # noqa: E402
from recbole_raserec.data.dataset import load_dataset  # noqa: E402
from recbole_raserec.data.sequences import Prefixes  # noqa: E402
from recbole_raserec.evaluation.groups import group_metrics  # noqa: E402
from recbole_raserec.evaluation.metrics import Metrics, both_protocols  # noqa: E402
from recbole_raserec.evaluation.ranking import Ranks  # noqa: E402
from recbole_raserec.evaluation.safeguard import Safeguard  # noqa: E402
from recbole_raserec.evaluation.significance import Resampling, improvements  # noqa: E402
from recbole_raserec.retrieval.combination import BACKBONE, FULL, Combination  # noqa: E402
from recbole_raserec.runtime.files import json_line  # noqa: E402
from recbole_raserec.runtime.machine import versions  # noqa: E402
from recbole_raserec.training import checkpoints  # noqa: E402
from recbole_raserec.training.model_file import TrainedModel, load_model  # noqa: E402
from recbole_raserec.training.queries import Queries, encode_part, rank_queries, search_part  # noqa: E402


def searched(trained: TrainedModel, part: Prefixes) -> Queries:
    """The part with its memories."""
    vectors = encode_part(trained.model, part)
    return search_part(trained.memory, part, vectors, trained.model.depth)


def ranks(trained: TrainedModel, queries: Queries, combination: Combination) -> Ranks:
    return rank_queries(trained.model.scorer(combination), queries, 512, show_progress=False)


def measure(trained: TrainedModel, sequences: Any, listed: list[Combination], metrics: Metrics, users: int) -> Any:
    """What the output holds of the combinations."""

    def drawn(part: Prefixes) -> Prefixes:
        rows = np.random.default_rng(0).permutation(len(part))[: users or None]
        return part.take(np.sort(rows))

    valid, counts = searched(trained, drawn(sequences.valid_part())), trained.counts
    base = ranks(trained, valid, BACKBONE)
    guard = Safeguard.of(base, valid.prefixes.targets, valid.prefixes.lengths, counts, metrics)
    rows = []
    totals: dict[Combination, float] = {}
    allowed: dict[Combination, Ranks] = {}
    for each in listed:
        found = ranks(trained, valid, each)
        figures = {name: of[metrics.watched] for name, of in both_protocols(found, metrics).items()}
        totals[each], refused = sum(figures.values()), guard.refusal(found)
        if refused is None:
            allowed[each] = found
        rows.append({**asdict(each), **figures, "refused": refused})
        print(rows[-1], flush=True)
    named = {
        "chosen": guard.most_certain(allowed) if allowed else BACKBONE,
        "own": trained.model.combination,
        "unguarded": max(listed, key=totals.__getitem__),
    }
    queries = searched(trained, drawn(sequences.test_part()))
    of_base, resampling, test = ranks(trained, queries, BACKBONE), Resampling(2000, seed=0), {}
    for name, each in named.items():
        new = ranks(trained, queries, each)
        groups = group_metrics(of_base, new, queries.prefixes, counts, metrics, resampling)
        test[name] = {
            "combination": asdict(each),
            "metrics": both_protocols(new, metrics),
            "improvement": improvements(of_base, new, metrics, resampling),
            "groups": groups,
        }
        show(name, test[name], metrics)
    backbone = {"valid": both_protocols(base, metrics), "test": both_protocols(of_base, metrics)}
    return {"users": [len(valid.prefixes), len(queries.prefixes)], "backbone": backbone, "valid": rows, "test": test}


def show(name: str, found: dict[str, Any], metrics: Metrics) -> None:
    """Print the gains in the watched metric of all users and of each group."""
    print(name, found["combination"])
    for protocol, gains in found["improvement"].items():
        print(" ", protocol, {metric: gain for metric, gain in gains.items()})
        for groups in found["groups"].values():
            print("   ", {key: of["improvement"][protocol][metrics.watched] for key, of in groups.items()})


def main(argv: list[str]) -> None:
    defaults = {"model_file": "", "data_path": "dataset", "strengths": "0.5,1", "adjustments": "0,0.1,0.2"}
    options = read_options(argv, {**defaults, "users": "0", "output": str(HERE / "results" / "combinations.json")})
    trained, state = load_model(options["model_file"]), checkpoints.load(options["model_file"], "cpu", "model_file")
    saved = state["config"]
    names = ("user_inter_num_interval", "item_inter_num_interval", "load_col", "split", "time_shares")
    same = {name: saved[name] for name in names if name in saved}
    config = Config("RaSeRec", saved["dataset"], config_dict={**same, "data_path": str(options["data_path"])})
    data = load_dataset(config)
    if data.sha256 != state["data_sha256"]:
        sys.exit(f"error: data_path={options['data_path']}: the model was trained on other data")
    strengths, adjustments = (
        [float(word) for word in str(options[name]).split(",")] for name in ("strengths", "adjustments")
    )
    mixtures = dict.fromkeys([FULL.mixture, trained.model.mixture])
    listed = [Combination(*values) for values in product(mixtures, strengths, adjustments)]
    torch.manual_seed(0)
    found = measure(trained, data.sequences, listed, Metrics.of(config), int(options["users"]))
    kept = {name: value for name, value in saved.items() if name not in ("data_path", "checkpoint_dir", "result_file")}
    about = {"data_sha256": data.sha256, "dataset": saved["dataset"], "seed": saved["seed"], "versions": versions()}
    Path(options["output"]).write_text(json_line({**about, "config": kept, **found}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
