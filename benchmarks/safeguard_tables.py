"""The table of docs/safeguard.md in markdown: who gains and who loses, with and without the safeguard."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import product

from benchmarks.tables import KINDS, METRICS, PROTOCOLS, Run, gain, of_pairs, ranks_sha256, seeds, short

WATCHED = "ndcg@10"


def nobody_table(guarded: list[Run], others: list[Run], pooled: list[Run]) -> str:
    """Gain in N@10 over the backbone of the same runs, and the groups of users that fall significantly.

    Of ``others``, runs without the safeguard, those without a preset and of the presets ``full`` and ``best`` are shown
    that have the data, backbones and seeds of ``guarded``. ``pooled`` are the rows of benchmarks/seed_groups.py. Runs
    that it has no row of end the program.
    """
    lines = [
        "| data, backbone | settings | seeds | chosen | gain in N@10, % | masked gain, % "
        "| groups that fall significantly with a seed | over the seeds | with a seed, six metrics "
        "| over the seeds, six metrics |",
        "|---" * 10 + "|",
    ]
    for (data, backbone), runs in of_pairs(guarded).items():
        same = [run for run in others if _identity(run) in map(_identity, runs)]
        of_preset = {
            name: [run for run in same if run["config"].get("preset") == name] for name in (None, "full", "best")
        }
        for preset, shown in {**of_preset, "safe": runs}.items():
            settings = f"`--preset={preset}`" if preset else "default"
            if shown:
                gains = " | ".join(gain(shown, "backbone", shown, "train", protocol) for protocol in PROTOCOLS)
                chosen = "; ".join(dict.fromkeys(map(_chosen, shown)))
                of_seeds = [row for row in pooled if row["ranks_sha256"] == ranks_sha256(shown)]
                if not of_seeds:
                    sys.exit(f"error: no row of {data}, {backbone}, {settings}: run python benchmarks/seed_groups.py")
                counted = product(((WATCHED,), METRICS), (shown, of_seeds))
                falling = " | ".join(_falling(of, metrics) for metrics, of in counted)
                lines.append(f"| {data}, {backbone} | {settings} | {seeds(shown)} | {chosen} | {gains} | {falling} |")
    return "\n".join(lines)


def _identity(run: Run) -> tuple[str, str, int]:
    return run["dataset"]["name"], run["backbone"]["name"], run["seed"]


def _chosen(run: Run) -> str:
    """The combination of a run."""
    choice, mixture = run["raserec"].get("choice", {}), run["raserec"].get("mixture", {"weight": 0})
    if not choice.get("retrieval", True):
        return "no retrieval"
    strength, adjustment = choice.get("strength", 1.0), choice.get("popularity_adjustment", 0.0)
    return f"strength {strength:g}, adjustment {adjustment:g}, mixture {mixture['weight']:g}"


def own_table(runs: list[Run]) -> str:
    """The same for data sets that have no settings of their own."""
    head = ["data", "seeds", "chosen", "gain in N@10, %", "masked gain, %"]
    head += ["groups that fall", "in six metrics"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    of_data: dict[str, list[Run]] = {}
    for run in runs:
        of_data.setdefault(run["dataset"]["name"], []).append(run)
    for data, same in sorted(of_data.items()):
        gains = " | ".join(gain(same, "backbone", same, "train", protocol) for protocol in PROTOCOLS)
        chosen = "; ".join(dict.fromkeys(map(_chosen, same)))
        falling = f"{_falling(same)} | {_falling(same, METRICS)}"
        lines.append(f"| {data} | {seeds(same)} | {chosen} | {gains} | {falling} |")
    return "\n".join(lines)


def _falling(runs: list[Run], metrics: Sequence[str] = (WATCHED,)) -> str:
    """How many of the groups of all runs fall significantly, and the least upper end of an interval, with its group."""
    found = [each for run in runs for each in _groups(run, metrics)]
    if not found:
        return ""
    falling = [each for each in found if each[0] < 0]
    worst = min(found)
    return f"{len(falling)} of {len(found)}; {worst[1]} up to {worst[0]:+.1f} %{worst[2]}"


def _groups(run: Run, metrics: Sequence[str]) -> Iterator[tuple[float, str, str]]:
    """The upper end of the interval of each quintile and history length in each metric, its name, and the seed.

    A group without an interval is left out: some of its resamples have no hit of the backbone, so no percentage.
    """
    seed = f" with seed {run['seed']}" if "seed" in run else ""
    for kind in KINDS:
        for name, group in run["groups"][kind].items():
            if name not in ("head", "tail"):  # the quintiles are finer
                for protocol, metric in product(PROTOCOLS, metrics):
                    upper = group["improvement"][protocol][metric][2]
                    if upper is not None:
                        of_metric = f" {short(metric)}" if len(metrics) > 1 else ""
                        yield upper, f"{name}, {protocol}{of_metric},", seed
