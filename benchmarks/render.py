"""Write the tables of README.md from benchmarks/results/*.json: ``python benchmarks/render.py``.

Only what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is replaced; no figure is typed by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20")


def accuracy_table(results: list[dict]) -> str:
    """Backbone and RaSeRec of every run, both protocols, gain in N@10 with its interval."""
    lines = [
        "| data, protocol | model | R@5 | R@10 | R@20 | N@5 | N@10 | N@20 | gain in N@10, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        data = f"{result['dataset']['name']}, seed {result['seed']}"
        for protocol, improvement in (("unmasked", "improvement"), ("masked", "improvement_masked")):
            percent, low, high = result[improvement]["ndcg@10"]
            gain = f"{percent:+.1f} [{low:+.1f}, {high:+.1f}]"
            for side, shown in ((result["backbone"], ""), (result["raserec"], gain)):
                figures = " | ".join(f"{side['test'][protocol][metric]:.4f}".lstrip("0") for metric in METRICS)
                lines.append(f"| {data}, {protocol} | {side['name']} | {figures} | {shown} |")
    return "\n".join(lines)


def bench_table(result: dict) -> str:
    """Peers' way and ours for each stage on Beauty, or the largest size both ran."""
    lines = [
        "| stage | data | peer, s | ours, s | ratio [range] | peer, MiB | ours, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["stages"]:
        if "ratio" not in row:
            continue
        low, high = row["spread"]
        lines.append(
            f"| {row['stage']} | {row['data']} | {row['peer_s']:.2f} | {row['ours_s']:.2f} "
            f"| {row['ratio']:.3g}x [{low:.3g}, {high:.3g}] | {row['peer_mib']} | {row['ours_mib']} |"
        )
    return "\n".join(lines)


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


def replace_block(text: str, name: str, block: str) -> str:
    """``text`` with what stands between the markers of ``name`` replaced."""
    return re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: m[1] + block + "\n" + m[2], text, flags=re.S)


def main() -> None:
    files = sorted((HERE / "results").glob("amazon-*.json"))
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    text = README.read_text(encoding="utf-8")
    text = replace_block(text, "accuracy", accuracy_table(results))
    bench = HERE / "results" / "bench-cpu.json"
    if bench.is_file():
        result = json.loads(bench.read_text(encoding="utf-8"))
        text = replace_block(text, "bench", bench_table(result) + "\n\n" + growth_table(result))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
