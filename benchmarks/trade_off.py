"""The picture of docs/safeguard.md: what all users gain, and what those of the rarest items do."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from benchmarks.tables import Run, grouped, percent_of_means, test_of, title
from recbole_raserec.reporting.figures import COLOURS, drawn

PRESETS = {"full": "o", "safe": "D", "best": "^"}  # and the mark of each
RAREST = "quintile 1"


def trade_off(results: list[Run], protocol: str) -> str:
    """The gains in N@10 over the own backbone of each preset, means over the seeds, in percent: all users, and RAREST.

    A line joins ``full`` and ``safe`` of the same data and backbone.
    """
    lines = {
        pair: {runs[0]["config"].get("preset"): _point(runs, protocol) for runs in systems.values()}
        for pair, systems in grouped(results).items()
    }

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for colour, ((data, backbone), points) in zip(COLOURS, lines.items()):
            ends = [points[preset] for preset in ("full", "safe") if preset in points]
            axes.plot(*zip(*ends), color=colour, linewidth=1.2, label=f"{title(data)}, {backbone}")
            for preset, point in points.items():
                if preset in PRESETS:
                    axes.plot(*point, color=colour, **_mark(preset, colour))
        for preset in PRESETS:
            axes.plot([], [], color="#666666", label=f"preset {preset}", linestyle="", **_mark(preset, "#666666"))
        axes.axhline(0, color="#666666", linestyle=":")
        axes.axvline(0, color="#666666", linestyle=":")
        axes.set(xlabel=f"all users: {protocol} N@10, %", ylabel="rarest fifth of the items: N@10, %")
        figure.legend(loc="outside right center", frameon=False)

    return drawn(draw, width=5.6, height=3.6)


def _mark(preset: str, colour: str) -> dict[str, Any]:
    return {"marker": PRESETS[preset], "markerfacecolor": colour if preset == "safe" else "none"}


def _point(runs: list[Run], protocol: str) -> tuple[float, float]:
    """The gain of the means of all users and of RAREST."""
    of_all = [[test_of(run, side)[protocol]["ndcg@10"] for run in runs] for side in ("backbone", "train")]
    groups = [run["groups"]["item_popularity"][RAREST] for run in runs]
    of_rarest = [[group[side][protocol]["ndcg@10"] for group in groups] for side in ("backbone", "raserec")]
    return percent_of_means(*of_all), percent_of_means(*of_rarest)
