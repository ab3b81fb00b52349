"""The aligned tables that commands print."""

from __future__ import annotations

from textwrap import wrap

from recbole_raserec.evaluation.ranking import MEMORIES, PROTOCOLS
from recbole_raserec.reporting.result import Result
from recbole_raserec.runtime.progress import format_seconds


def format_result(result: Result) -> str:
    """The result as aligned tables, with both protocols, both memories, and relative gains with their intervals."""
    data, mixture, choice = result.dataset, result.raserec.get("mixture"), result.raserec.get("choice")
    counts = f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions"
    lines = [
        f"{data['name']}: {counts}, {result.test_users:,} test users, seed {result.seed}",
        f"backbone {result.backbone['name']}; gain in percent with its 95 % interval over paired users",
    ]
    for protocol in PROTOCOLS:
        lines += ["", *aligned(_rows(result, protocol))]
    lines += [""]
    if choice and choice["note"]:
        lines += wrap(f"safeguard: {choice['note']}", 120)
    if mixture and (mixture["weight"] or not choice):
        lines.append(f"mixture by validation: weight {mixture['weight']}, tau {mixture['tau']}")
    lines.append("* the figures under raserec.test and improvement in the result file (memory_include_valid)")
    lines.append(f"{format_seconds(result.seconds)}; peak memory {result.peak_rss_mib:.0f} MiB")
    return "\n".join(lines)


def _rows(result: Result, protocol: str) -> list[list[str]]:
    """The rows of one protocol: metrics of the backbone, then metrics and gains with each memory."""
    backbone, raserec = result.backbone, result.raserec
    base = backbone["test"][protocol]
    rows = [[f"test, {protocol}", *base], [backbone["name"], *_values(base)]]
    for memory, label in MEMORIES.items():
        found = raserec["test_by_memory"][memory]
        star = " *" if memory == raserec["memory"] else ""
        rows.append([f"{raserec['name']}, {label}{star}", *_values(found["test"][protocol])])
        rows.append(["  gain", *(_gain(found["improvement"][protocol][metric]) for metric in base)])
    return rows


def _values(figures: dict[str, float]) -> list[str]:
    return [f"{value:.4f}" for value in figures.values()]


def _gain(interval: list[float | None]) -> str:
    percent, low, high = interval
    if percent is None:
        return "-"
    return f"{percent:+.1f}" if low is None else f"{percent:+.1f} [{low:+.1f}, {high:+.1f}]"


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of a table. The first column is left-aligned, the others are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
