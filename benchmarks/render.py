"""Write the tables of README.md from benchmarks/results/*.json: ``python benchmarks/render.py``.

Only what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is replaced; no figure is typed by hand.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from recbole_raserec.evaluation.significance import paired_improvement, unpack_ranks  # noqa: E402

README = HERE.parent / "README.md"
LIMITS = {"flops": "arithmetic", "bytes": "memory"}
METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20")


def accuracy_table(results: list[dict]) -> str:
    """Backbone and RaSeRec, means over the seeds, both protocols; gain in N@10 with the seeds' widest interval."""
    lines = [
        "| data, protocol | model | R@5 | R@10 | R@20 | N@5 | N@10 | N@20 | gain in N@10, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict]] = {}
    for result in results:
        groups.setdefault((result["dataset"]["name"], system(result["config"])), []).append(result)
    for (data, name), runs in groups.items():
        seeds = "seeds " + ", ".join(str(run["seed"]) for run in runs)
        for protocol, improvement in (("unmasked", "improvement"), ("masked", "improvement_masked")):
            gains = [run[improvement]["ndcg@10"] for run in runs]
            low, high = min(gain[1] for gain in gains), max(gain[2] for gain in gains)
            shown = f"{statistics.mean(gain[0] for gain in gains):+.1f} [{low:+.1f}, {high:+.1f}]"
            for side, gain in (("backbone", ""), ("raserec", shown)):
                model = runs[0][side]["name"] + (f", {name}" if name else "")
                figures = " | ".join(_mean(run[side]["test"][protocol][metric] for run in runs) for metric in METRICS)
                lines.append(f"| {data}, {protocol}, {seeds} | {model} | {figures} | {gain} |")
    return "\n".join(lines)


def ablation_table(results: list[dict]) -> str:
    """N@10 of every training set and memory, and its gain over the original set's backbone on the same users."""
    results = [run for run in results if "test_ranks" in run]  # older runs cannot be paired
    plain = {run["seed"]: run for run in results if not system(run["config"])}
    lines = [
        "| training set, memory | seeds | protocol | backbone, N@10 | gain, % | with retrieval, N@10 | gain, % |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[dict]] = {}
    for run in results:
        if run["seed"] in plain:
            groups.setdefault(system(run["config"]) or "original", []).append(run)
    for name, runs in groups.items():
        for protocol in ("unmasked", "masked"):
            cells = []
            for side in ("backbone", "raserec"):
                cells.append(_mean(run[side]["test"][protocol]["ndcg@10"] for run in runs))
                cells.append(_gain_over(plain, runs, side, protocol))
            lines.append(f"| {name} | {len(runs)} | {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _gain_over(plain: dict[int, dict], runs: list[dict], side: str, protocol: str) -> str:
    gains = []
    for run in runs:
        base, new = plain[run["seed"]]["test_ranks"]["backbone"][protocol], run["test_ranks"][side][protocol]
        ranks = unpack_ranks(base), unpack_ranks(new)
        gains.append(paired_improvement(*ranks, run["config"], 2000, run["seed"])["ndcg@10"])
    low, high = min(gain[1] for gain in gains), max(gain[2] for gain in gains)
    return f"{statistics.mean(gain[0] for gain in gains):+.1f} [{low:+.1f}, {high:+.1f}]"


def system(config: dict) -> str:
    """What a run has beyond a backbone and its memory of pairs."""
    parts = []
    if config.get("regenerate"):
        parts.append(f"{config['regenerate']} ({' + '.join(config['regenerate_parts'])})")
    if config.get("memory", ["pairs"]) != ["pairs"]:
        parts.append(f"memory {' + '.join(config['memory'])}")
    return ", ".join(parts)


def _mean(values: Iterable[float]) -> str:
    return f"{statistics.mean(values):.4f}".lstrip("0")


def bench_table(result: dict) -> str:
    """Peers' way and ours for each stage on Beauty, or the largest size both ran."""
    lines = [
        "| stage | data | peer, s | ours, s | ratio [range] | peer, MiB | ours, MiB | of the limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["stages"]:
        if "ratio" not in row:
            continue
        low, high = row["spread"]
        lines.append(
            f"| {row['stage']} | {row['data']} | {row['peer_s']:.2f} | {row['ours_s']:.2f} "
            f"| {row['ratio']:.3g}x [{low:.3g}, {high:.3g}] | {row['peer_mib']} | {row['ours_mib']} "
            f"| {_share_of_limit(row)} |"
        )
    return "\n".join(lines)


def _share_of_limit(row: dict) -> str:
    return f"{100 * row['roofline']:.0f} % of {LIMITS[row['limit']]}" if "roofline" in row else ""  # older runs


def growth_table(result: dict) -> str:
    """How our seconds grow with the interactions: slope of log seconds over log interactions."""
    slopes = ", ".join(f"{stage} {slope:.2f}" for stage, slope in result["growth"].items())
    text = f"Growth with the interactions (log-log slope, synthetic data): {slopes}."
    for row in result["stages"]:
        if row["stage"] == "large_catalogue":
            text += (
                f" A SASRec epoch over {row['data']} (a million items): {row['ours_s']:.0f} s, {row['ours_mib']} MiB."
            )
    return text


def paths_table(rows: list[dict]) -> str:
    """What the fast paths change in the accuracy of a backbone: means over seeds, against the first row."""
    lines = [
        "| way | epochs | test N@10 unmasked | masked | change in N@10 unmasked, % | masked, % |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        test = [_mean([row["test"][protocol]["ndcg@10"]]) for protocol in ("unmasked", "masked")]
        changes = ["", ""]
        if "change_percent" in row:
            intervals = [row["change_percent"][protocol]["ndcg@10"] for protocol in ("unmasked", "masked")]
            changes = [f"{percent:+.1f} [{low:+.1f}, {high:+.1f}]" for percent, low, high in intervals]
        epochs = ", ".join(str(number) for number in row["epochs"])
        lines.append(f"| {' | '.join([row['way'], epochs, *test, *changes])} |")
    return "\n".join(lines)


def replace_block(text: str, name: str, block: str) -> str:
    """``text`` with what stands between the markers of ``name`` replaced."""
    return re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: m[1] + block + "\n" + m[2], text, flags=re.S)


def main() -> None:
    files = sorted((HERE / "results").glob("amazon-*.json"))
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    text = README.read_text(encoding="utf-8")
    text = replace_block(text, "accuracy", accuracy_table([run for run in results if not system(run["config"])]))
    beauty = [run for run in results if run["dataset"]["name"] == "amazon-beauty"]
    if any(system(run["config"]) for run in beauty):
        text = replace_block(text, "ablation", ablation_table(beauty))
    bench = HERE / "results" / "bench-cpu.json"
    if bench.is_file():
        result = json.loads(bench.read_text(encoding="utf-8"))
        text = replace_block(text, "bench", bench_table(result) + "\n\n" + growth_table(result))
        if result.get("accuracy"):
            text = replace_block(text, "paths", paths_table(result["accuracy"]))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
