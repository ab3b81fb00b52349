"""The tables of docs/benchmarks.md and benchmarks/results/README.md in markdown, from result files."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from recbole_raserec.config.parameters import NEWER, affects
from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks
from recbole_raserec.evaluation.significance import Resampling, paired_improvement, unpack_ranks

Run = Mapping[str, Any]  # the content of a result file
ABLATION = ("amazon-beauty", "SASRec")
# preset of a headline run: the README's name of its RaSeRec, and the text after its backbone's name
SYSTEMS = {
    None: ("RaSeRec", ""),
    "full": ("full pipeline", " on the patterns too"),
    "best": ("`--preset=best`", " of `--preset=best`"),
    "safe": ("`--preset=safe`", " on the patterns too"),
}
RESAMPLING = Resampling(2000, seed=0)
KINDS = {"item_popularity": "By popularity of the test item", "history_length": "By length of the history"}
METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20")


def seeds(runs: list[Run]) -> str:
    number = len({run["seed"] for run in runs})
    assert number == len(runs), "two of these runs have the same seed"
    assert not (names := _differing(runs)), f"these runs are no row, because they differ in {', '.join(names)}"
    return f"{number} seeds" if number > 1 else f"seed {runs[0]['seed']}"


def _differing(runs: list[Run]) -> list[str]:
    """The parameters that change figures, but for the seed, and whose values differ among the runs that have them."""
    found = ["the data"] if len({run["dataset"]["sha256"] for run in runs}) > 1 else []
    configs = [{**NEWER, **run["config"]} for run in runs]
    names = {name for config in configs for name in config if affects(name) != "nothing"} - {"seed", "preset"}
    for name in sorted(names):
        values = [config[name] for config in configs if name in config]
        found += [name] if any(value != values[0] for value in values) else []
    return found


def ranks_sha256(runs: list[Run]) -> str:
    """What the ranks of the test users by backbones and RaSeRec are, in the order of the runs."""
    sides = [run["test_ranks"][side] for run in runs for side in ("backbone", "train")]
    return hashlib.sha256(json.dumps(sides, sort_keys=True).encode()).hexdigest()


def full_table(results: list[Run]) -> str:
    """All systems of the headline runs under both protocols: mean over the seeds and half their range.

    The gain is the gain of RaSeRec over its own backbone in N@10.
    """
    lines = [f"| data, protocol | system | {' | '.join(map(short, METRICS))} | gain in N@10, % |", "|---" * 9 + "|"]
    for (data, _), systems in grouped(results).items():
        for protocol in PROTOCOLS:
            for name, runs in systems.items():
                lines += _rows_of(f"{data}, {protocol}", name, runs, protocol)
    return "\n".join(lines)


def grouped(results: list[Run]) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """Runs grouped by data set, backbone (SASRec first) and :func:`system`."""
    groups: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for pair, runs in of_pairs(results).items():
        systems = groups.setdefault(pair, {})
        for run in sorted(runs, key=lambda run: list(SYSTEMS).index(run["config"].get("preset"))):
            systems.setdefault(system(run["config"]), []).append(run)
    return groups


def of_pairs(runs: list[Run]) -> dict[tuple[str, str], list[Run]]:
    """Runs grouped by data set and backbone (SASRec first)."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run["dataset"]["name"], run["backbone"]["name"] != "SASRec")):
        groups.setdefault((run["dataset"]["name"], run["backbone"]["name"]), []).append(run)
    return groups


def short(metric: str) -> str:
    """For example recall@10 -> R@10."""
    return metric.replace("recall", "R").replace("ndcg", "N")


def title(data: str) -> str:
    """For example amazon-toys-games -> Toys."""
    return data.removeprefix("amazon-").split("-")[0].capitalize()


def cell(figure: float) -> str:
    return f"{figure:.4f}".lstrip("0")


def _rows_of(first: str, name: str, runs: list[Run], protocol: str) -> list[str]:
    """The row of the backbone, and the rows of RaSeRec with each memory."""
    backbone = runs[0]["backbone"]["name"]
    labels = {
        "backbone": backbone,
        "train": f"RaSeRec on {backbone}",
        "train+valid": f"RaSeRec on {backbone}, validation pairs in the memory",
    }
    rows = []
    for side, label in labels.items():
        beyond = training_set(runs[0]["config"]) if side == "backbone" else name
        label = ", ".join(part for part in (label, beyond, seeds(runs)) if part)
        cells = " | ".join(mean([test_of(run, side)[protocol][metric] for run in runs]) for metric in METRICS)
        gained = "" if side == "backbone" else gain(runs, "backbone", runs, side, protocol)
        rows.append(f"| {first} | {label} | {cells} | {gained} |")
    return rows


def test_of(run: Run, side: str) -> dict[str, dict[str, float]]:
    return (run["backbone"] if side == "backbone" else run["raserec"]["test_by_memory"][side])["test"]


def gain(base: list[Run], base_side: str, new: list[Run], side: str, protocol: str) -> str:
    """Gain in N@10 of runs over other runs with the same seeds, in percent with its interval over users.

    The ranks of a user from all seeds stay together. So the interval is over users, and the gain is that of the means.
    """
    return interval(*gains(base, base_side, new, side, protocol)["ndcg@10"])


def gains(base: list[Run], base_side: str, new: list[Run], side: str, protocol: str) -> dict[str, list[float]]:
    """The gain, and its interval's ends, of :func:`gain` for each metric."""
    packed = (
        tuple(run["test_ranks"][of_side][protocol] for run in runs)
        for runs, of_side in ((base, base_side), (new, side))
    )
    return _gains(*packed, Metrics.of(base[0]["config"]))


@cache  # several tables show the same gain, and its interval takes a second
def _gains(base: tuple[str, ...], new: tuple[str, ...], metrics: Metrics) -> dict[str, list[float]]:
    return paired_improvement(_stacked(base), _stacked(new), metrics, RESAMPLING)


def ranks_of(runs: Iterable[Run], side: str) -> Ranks:
    """The ranks [S, R] of the same users by the backbone or with a memory, one row for each run."""
    packed = [run["test_ranks"][side] for run in runs]
    return Ranks(*(_stacked(each[protocol] for each in packed) for protocol in PROTOCOLS))


def _stacked(packed: Iterable[str]) -> np.ndarray:
    return np.stack([unpack_ranks(ranks) for ranks in packed])


def interval(percent: float, low: float, high: float) -> str:
    return f"{percent:+.1f} [{low:+.1f}, {high:+.1f}]"


def ablation_table(results: list[Run]) -> str:
    """N@10 of every training set and memory, and its gain over the original set's backbone on the same users.

    The memories hold no validation pairs.
    """
    plain = {run["seed"]: run for run in results if not system(run["config"])}
    lines = [
        "| training set, memory | seeds | protocol | backbone, N@10 | gain, % | with retrieval, N@10 | gain, % |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[Run]] = {}
    for run in results:
        if run["seed"] in plain:
            groups.setdefault(system(run["config"]) or "original", []).append(run)
    for name, runs in groups.items():
        for protocol in PROTOCOLS:
            cells = []
            for side in ("backbone", "train"):
                cells.append(mean(test_of(run, side)[protocol]["ndcg@10"] for run in runs))
                cells.append(gain([plain[run["seed"]] for run in runs], "backbone", runs, side, protocol))
            lines.append(f"| {name} | {len(runs)} | {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines)


def group_table(results: list[Run], kind: str, names: Iterable[str]) -> str:
    """N@10 of groups of users: backbone, RaSeRec, and the gain with half its range over the seeds."""
    names = list(names)
    lines = [f"| data, system | protocol | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for (data, backbone), systems in grouped(results).items():
        for runs in systems.values():
            label = f"{data}, {SYSTEMS[runs[0]['config'].get('preset')][0]} on {backbone}, {seeds(runs)}"
            for protocol in PROTOCOLS:
                cells = [_group_cell([run["groups"][kind][name] for run in runs], protocol) for name in names]
                lines.append(f"| {label} | {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _group_cell(groups: list[dict], protocol: str) -> str:
    """Means over the seeds for a group of users, and the gain of the means."""
    before, after = ([group[side][protocol]["ndcg@10"] for group in groups] for side in ("backbone", "raserec"))
    return f"{cell(statistics.mean(before))}, {cell(statistics.mean(after))}: {gain_of_means(before, after)}"


def gain_of_means(before: list[float], after: list[float]) -> str:
    """The gain of the means over the seeds in percent, with half the range of the seeds' own gains."""
    gains = [100 * (new / old - 1) for old, new in zip(before, after)]
    spread = f" ±{(max(gains) - min(gains)) / 2:.1f}" if len(gains) > 1 else ""
    return f"{percent_of_means(before, after):+.1f}{spread} %"


def percent_of_means(before: list[float], after: list[float]) -> float:
    return 100 * (statistics.mean(after) / statistics.mean(before) - 1)


def training_set(config: dict) -> str:
    """The training data of a backbone beyond the original sequences, and whether it has preset ``best``."""
    parts = ["preset best"] if config.get("preset") == "best" else []
    if config.get("regenerate"):
        parts.append(f"{config['regenerate']} ({' + '.join(config['regenerate_parts'])})")
    return ", ".join(parts)


def system(config: dict) -> str:
    """The parts of a run beyond a backbone and its memory of pairs."""
    parts = [training_set(config), "preset safe" if config.get("preset") == "safe" else ""]
    if config.get("memory", ["pairs"]) != ["pairs"]:
        parts.append(f"memory {' + '.join(config['memory'])}")
    if any(config.get("mixture_weight", [])):
        parts.append("mixture")
    return ", ".join(part for part in parts if part)


def in_ablation(run: Run) -> bool:
    """Whether a run has the data set, the backbone and the backbone's parameters of the ablation."""
    preset = run["config"].get("preset")
    return (run["dataset"]["name"], run["backbone"]["name"]) == ABLATION and preset in (None, "full")


def mean(values: Iterable[float]) -> str:
    """The mean, and half the range if there are several values."""
    values = list(values)
    text = cell(statistics.mean(values))
    return text if len(values) == 1 else text + f" ±{(max(values) - min(values)) / 2:.4f}".replace("0.", ".")
