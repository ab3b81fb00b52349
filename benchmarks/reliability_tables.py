"""The tables of docs/reliability.md: faults of the pipeline, and the fuzzing of the readers."""

from __future__ import annotations

from typing import Any

KINDS = {
    "kill": "killed before the call",
    "torn": "killed when half of a write is done",
    "ENOSPC": "the call fails: disk full",
    "EIO": "the call fails: input/output error",
    "EACCES": "the call fails: no permission",
}


def faults_table(result: dict[str, Any]) -> str:
    """How often the pipeline was disturbed, and how it ended. A file exists only if nothing differed."""
    lines = ["| fault | times | the run ended all the same |", "|---|---|---|"]
    for kind, label in KINDS.items():
        survived = result["faults"].get(f"{kind}, survived", 0)
        times = result["faults"].get(kind, 0) + survived
        if times:
            lines.append(f"| {label} | {times:,} | {survived:,} |")
    told = "After each of them the same command with `--resume=True` ended with the bits of the undisturbed run."
    text = "\n".join([_boundaries(result), "", *lines, "", told])
    if "random" not in result:
        return text
    random = result["random"]
    return (
        f"{text}\n\n{random['kills']:,} SIGKILLs at random moments of {random['runs']:,} runs on ml-100k's users with "
        f"100 to 200 ratings: all {random['runs']:,} end with the same bits."
    )


def _boundaries(result: dict[str, Any]) -> str:
    found = result["boundaries"]
    kinds = ", ".join(f"{number} {name}" for name, number in sorted(found.items(), key=lambda pair: -pair[1]))
    part = "each" if result["every"] == 1 else f"each {result['every']}th"
    return f"Faults at {part} of the short pipeline's {sum(found.values()):,} boundaries ({kinds}):"


def fuzz_table(result: dict[str, Any]) -> str:
    """Executions, coverage and findings of each reader."""
    head = "| reader | executions | minutes | refused | edges reached | inputs kept | slowest, ms | findings |"
    lines = [head, "|---" * 8 + "|"]
    for name, row in sorted(result["targets"].items(), key=lambda pair: -pair[1]["executions"]):
        shown = f"{row['executions']:,} | {row['seconds'] / 60:.1f} | {row['refused'] / row['executions']:.0%}"
        reached = f"{row.get('edges', '')} | {row.get('corpus', '')} | {1000 * row['slowest']:.0f}"
        lines.append(f"| `{name}` | {shown} | {reached} | {len(row['findings'])} |")
    engines = sorted({row["engine"] for row in result["targets"].values()})
    minutes = sum(row["seconds"] for row in result["targets"].values()) / 60
    text = (
        f"{result['executions']:,} executions in {minutes:.0f} minutes ({', '.join(engines)}), of the package with "
        f"SHA-256 {result['code_sha256'][:12]}. Seeds and their SHA-256 are in `benchmarks/results/fuzz.json`."
    )
    return "\n".join([text, "", *lines])
