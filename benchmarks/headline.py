"""The tables of the headline figures beside the published ones, and the check of their bold cells."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.tables import (
    METRICS,
    PROTOCOLS,
    SYSTEMS,
    Run,
    cell,
    gain,
    gains,
    grouped,
    mean,
    seeds,
    short,
    test_of,
)

COLUMNS = (*(("unmasked", metric) for metric in METRICS), ("masked", "recall@10"), ("masked", "ndcg@10"))


def headline_tables(results: list[Run], published: dict[str, Any]) -> str:
    """A table for each data set, with our rows below the published rows: unmasked figures, and masked figures at 10.

    A figure of RaSeRec is bold if it reaches the bar of its column, see :func:`bars`.
    """
    names = [*METRICS, "masked R@10", "masked N@10", "gain in N@10, %", "masked gain, %"]
    head = "| " + " | ".join(["system", *map(short, names)]) + " |\n" + "|---" * (len(names) + 1) + "|"
    groups = grouped(results)
    parts = []
    for data, about in published["data"].items():
        lines = []
        for (name, backbone), systems in groups.items():
            if name == data:
                for label in (backbone, f"{backbone}, full pipeline"):
                    lines.append(_row(f"{label}, *published*", dict(zip(COLUMNS, about["rows"][label]))))
                lines += [line for runs in systems.values() for line in _headline_rows(runs, bars(about, backbone))]
        if lines:
            parts += [f"**{data}**", "\n".join([head, *lines, *_bar_rows(about["bars"])])]
    return "\n\n".join(parts)


def bars(about: dict[str, Any], backbone: str) -> dict[tuple[str, str], float]:
    """The bar of each protocol and metric that has one, for systems on ``backbone``; all of ``COLUMNS`` have one.

    It is the best printed figure of another model that uses only the items' ids, or, of an unmasked metric, that of the
    published full pipeline of the same backbone, whichever is higher.
    """
    pipeline = about["rows"][f"{backbone}, full pipeline"]
    found = {("unmasked", metric): figure for metric, figure in zip(METRICS, pipeline)}
    for protocol in PROTOCOLS:
        for metric, bar in about["bars"].get(protocol, {}).get("printed", {}).items():
            found[protocol, metric] = max(bar["value"], found.get((protocol, metric), 0.0))
    return found


def below_table(results: list[Run], published: dict[str, Any]) -> str:
    """Which figures of the presets are below their bar, with each memory, and which gains are not significant.

    All metrics that have a bar are compared: six unmasked ones, and the masked ones that are printed. The gains are
    those of the training pairs over the backbone, with the paired interval over users.
    """
    lines = ["| data, system | training pairs | validation pairs too | gain not significant |", "|---|---|---|---|"]
    for (data, backbone), systems in grouped(results).items():
        goal = bars(published["data"][data], backbone)
        for runs in systems.values():
            if preset := runs[0]["config"].get("preset"):
                cells = [f"{data}, {SYSTEMS[preset][0]} on {backbone}, {seeds(runs)}"]
                cells += [_below(runs, side, goal) for side in ("train", "train+valid")]
                lines.append(f"| {' | '.join([*cells, _not_significant(runs)])} |")
    return "\n".join(lines)


def _below(runs: list[Run], side: str, goal: dict[tuple[str, str], float]) -> str:
    """For example ``1 of 10: masked R@10 .1033 (.1041)``, where the bar is in brackets."""
    found = []
    for (protocol, metric), least in goal.items():
        figure = statistics.mean(test_of(run, side)[protocol][metric] for run in runs)
        if figure < least:
            found.append(f"{protocol} {short(metric)} {cell(figure)} ({cell(least)})")
    count = f"{len(found)} of {len(goal)}"
    return f"{count}: {', '.join(found)}" if found else count


def _not_significant(runs: list[Run]) -> str:
    found = [
        f"{protocol} {short(metric)} {low:+.1f} to {high:+.1f} %"
        for protocol in PROTOCOLS
        for metric, (_, low, high) in gains(runs, "backbone", runs, "train", protocol).items()
        if low <= 0
    ]
    return ", ".join(found) or "none"


def unearned(text: str, published: dict[str, Any]) -> list[str]:
    """The bold cells in the headline tables ``text`` that do not reach their bar, a line each."""
    found = []
    for data, backbone, label, cells in _rows_in(text):
        goal = bars(published["data"][data], backbone)
        for column, shown in zip(COLUMNS, cells):
            bold = re.match(r"\*\*(\d*\.\d+)", shown)
            if bold and float(bold[1]) < (least := goal[column]):
                where = f"{data}, {backbone}: {label}, {' '.join(column)}"
                found.append(f"{where}: {shown} is bold, and its bar is {cell(least)}")
    return found


def _rows_in(text: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Data set, backbone, label and cells of each row of the headline tables."""
    data = backbone = ""
    for line in text.splitlines():
        if title := re.fullmatch(r"\*\*([\w-]+)\*\*", line):
            data = title[1]
        elif data and line.startswith("| ") and not line.startswith("| system"):
            label, *cells = [part.strip() for part in line.strip("| ").split(" | ")]
            if label.endswith("full pipeline, *published*"):
                backbone = label.split(",")[0]
            if backbone:
                yield data, backbone, label, cells


def _row(label: str, figures: dict[tuple[str, str], float]) -> str:
    """A row of published figures, empty where there is none."""
    cells = " | ".join(cell(figures[column]) if column in figures else "" for column in COLUMNS)
    return re.sub(" +", " ", f"| {label} | {cells} | | |")


def _bar_rows(of_protocol: dict[str, Any]) -> list[str]:
    """A row for each kind of bar, which names the models."""
    rows = []
    for protocol, kinds in of_protocol.items():
        for kind, figures in kinds.items():
            shown = {(protocol, metric): bar for metric, bar in figures.items() if (protocol, metric) in COLUMNS}
            models = ", ".join(dict.fromkeys(bar["source"] for bar in shown.values()))
            label = f"best {kind}, {protocol}, of other models: {models}"
            rows.append(_row(label, {column: bar["value"] for column, bar in shown.items()}))
    return rows


def _headline_rows(runs: list[Run], goal: dict[tuple[str, str], float]) -> list[str]:
    """The rows of the backbone and of RaSeRec with each memory. Figures that reach ``goal`` are bold.

    Preset ``safe`` has no row of the backbone, because it is that of preset ``full``.
    """
    backbone = runs[0]["backbone"]["name"]
    preset = runs[0]["config"].get("preset")
    what, beyond = SYSTEMS[preset]
    labels = {
        **({} if preset == "safe" else {"backbone": f"{backbone}{beyond}"}),
        "train": what,
        "train+valid": f"{what}, validation pairs in the memory",
    }
    rows = []
    for side, label in labels.items():
        own = side == "backbone"
        cells = [cell_of(runs, side, *column, None if own else goal[column]) for column in COLUMNS]
        gains = ["" if own else gain(runs, "backbone", runs, side, protocol) for protocol in PROTOCOLS]
        rows.append(f"| {' | '.join([f'{label}, {seeds(runs)}', *cells, *gains])} |")
    return rows


def cell_of(runs: list[Run], side: str, protocol: str, metric: str, goal: float | None = None) -> str:
    """Mean and half the range. The mean is bold if it is at least ``goal``."""
    values = [test_of(run, side)[protocol][metric] for run in runs]
    shown = mean(values)
    if goal is None or statistics.mean(values) < goal:
        return shown
    first, *spread = shown.split()
    return " ".join([f"**{first}**", *spread])
