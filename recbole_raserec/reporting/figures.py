"""The pictures of a report as SVG. Colours are safe for colour-blind readers, and shapes differ too."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito
MARKERS, LINES = ("o", "s", "^", "D", "v", "P"), ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
SIDES = {"backbone": "backbone", "raserec": "RaSeRec"}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recbole-raserec",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def drawn(draw: Callable[[Figure], None], width: float = 4.8, height: float = 2.9) -> str:
    """The SVG element of the figure that ``draw`` draws. The same input gives the same text."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def curves(series: dict[str, Sequence[tuple[int, float]]], metric: str) -> str:
    """Validation score of every epoch that was validated, ``(epoch, score)``, one line per run."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (label, points) in enumerate(series.items()):
            axes.plot(*zip(*points), label=label, **_line(number), marker=None)
            best = max(points, key=lambda point: (point[1], point[0]))  # of equal ones the last, as in training
            axes.plot(*best, MARKERS[number % len(MARKERS)], color=_colour(number))
        axes.set(xlabel="epoch (marked: the best)", ylabel=f"valid {metric}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", frameon=False)

    return drawn(draw, height=2.9 + 0.17 * len(series))


def over(name: str, points: dict[str, list[tuple[float, float]]], base: float, metric: str) -> str:
    """Test metric over a parameter, one line per memory bank. The backbone is a horizontal line.

    Where a parameter's value has several points, the line goes through their mean, and a band shows their range.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (label, line) in enumerate(points.items()):
            x = sorted({value for value, _ in line})
            ys = [[y for value, y in line if value == at] for at in x]
            axes.plot(x, [*map(fmean, ys)], label=label, marker=MARKERS[number % len(MARKERS)], **_line(number))
            if len(line) > len(x):
                axes.fill_between(x, [*map(min, ys)], [*map(max, ys)], color=_colour(number), alpha=0.15, linewidth=0)
        axes.axhline(base, color="#666666", linestyle=":", label="backbone")
        axes.set(xlabel=name, ylabel=metric)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)

    return drawn(draw)


def groups(of_group: dict[str, dict[str, Any]], metric: str, protocol: str) -> str:
    """Bars of backbone and RaSeRec for each group of users, with the number of users below."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (side, label) in enumerate(SIDES.items()):
            heights = [of_group[name][side][protocol][metric] for name in of_group]
            at = [place + 0.4 * (number - 0.5) for place in range(len(of_group))]
            axes.bar(at, heights, 0.38, label=label, color=COLOURS[number], hatch=("", "//")[number], edgecolor="white")
        axes.set_xticks(range(len(of_group)), [f"{name}\n{of_group[name]['users']:,} users" for name in of_group])
        axes.set_ylabel(metric)
        axes.legend(frameon=False)

    return drawn(draw)


def similarity(portrait: dict[str, Any]) -> str:
    """Histograms of the similarity of a user's nearest memory and last memory."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, side in enumerate(("nearest", "last")):
            axes.stairs(
                portrait[side],
                portrait["edges"],
                label=f"{side} memory",
                linewidth=1.6,
                color=_colour(number),
                linestyle=LINES[number],
            )
        axes.set(xlabel="cosine of user vector and memory", ylabel="test users")
        axes.legend(frameon=False)

    return drawn(draw)


def plane(portrait: dict[str, Any]) -> str:
    """Map of users and memories on the two main axes of their vectors."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        x, y = np.array(portrait["memories"]).reshape(-1, 2).T
        axes.scatter(x, y, s=6, color="#BBBBBB", marker=".", label="memory")
        kinds = {1: "target ranked higher", 0: "alike", -1: "target ranked lower"}
        for number, (sign, label) in enumerate(kinds.items()):
            points = [(x, y) for x, y, gain in portrait["users"] if gain == sign]
            if points:
                x, y = np.array(points).T
                axes.scatter(x, y, s=16, color=_colour(number), marker=MARKERS[number], label=f"user, {label}")
        axes.set(xticks=[], yticks=[], xlabel=f"two main axes: {100 * portrait['explained']:.0f} % of the variance")
        axes.legend(frameon=False, fontsize=8)

    return drawn(draw, height=4.4)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _line(number: int) -> dict[str, Any]:
    return {"color": _colour(number), "linestyle": LINES[number % len(LINES)], "linewidth": 1.6}
