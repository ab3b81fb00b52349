"""The table of docs/benchmarks.md on models that are tested with fewer or more memories, in markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import PROTOCOLS, Run, gain_of_means, interval, mean


def drift_table(runs: list[Run]) -> str:
    """N@10 of the same models with fewer or more memories, and the gain over their backbones."""
    lines = ["| in the memory | unmasked N@10 | gain | masked N@10 | gain |", "|---|---|---|---|---|"]
    labels: dict[str | float, str] = {
        part["share"]: f"the older {100 * part['share']:.0f} % of every user's training pairs"
        for part in runs[0]["drift"]
    }
    labels |= {"train": "all training pairs", "train+valid": "and the validation pairs"}
    for memory, label in labels.items():
        cells = []
        for protocol in PROTOCOLS:
            cells.append(mean(_with(run, memory)["test"][protocol]["ndcg@10"] for run in runs))
            cells.append(drift_gain(runs, memory, protocol))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drift_gain(runs: list[Run], memory: str | float, protocol: str) -> str:
    """The gain in N@10 of models with a part of their memory, or with one of the two memory banks.

    One run has an interval over its users, and several have half the range of their seeds.
    """
    if len(runs) == 1:
        return f"{interval(*_with(runs[0], memory)['improvement'][protocol]['ndcg@10'])} %"
    before, after = (
        [test[protocol]["ndcg@10"] for test in tests]
        for tests in ((run["backbone"]["test"] for run in runs), (_with(run, memory)["test"] for run in runs))
    )
    return gain_of_means(before, after)


def _with(run: Run, memory: str | float) -> dict[str, Any]:
    """The figures with one of the two memory banks, or with a share of the training pairs."""
    if isinstance(memory, str):
        return run["raserec"]["test_by_memory"][memory]
    return next(part for part in run["drift"] if part["share"] == memory)
