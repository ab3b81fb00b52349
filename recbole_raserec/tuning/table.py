"""The output files and the printed table of a search."""

from __future__ import annotations

import csv
import json
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import yaml

from recbole_raserec.reporting.text import aligned
from recbole_raserec.runtime.files import write_text, writing

_SHOWN = 20  # rows printed; the files hold all trials


def write_trials(folder: Path, trials: list[dict[str, Any]], best: dict[str, Any] | None) -> None:
    """Write trials.json, trials.csv and, if a trial finished, best.yaml."""
    write_text(folder / "trials.json", json.dumps(trials, indent=1) + "\n")
    names = sorted({name for trial in trials for name in trial["point"]})
    with writing(folder / "trials.csv") as raw, TextIOWrapper(raw, "utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "score", "backbone", "validations", "seconds", "status", "error"])
        for trial in trials:
            rest = [trial.get(name) for name in ("score", "backbone", "validations", "seconds", "status", "error")]
            writer.writerow([*(trial["point"].get(name) for name in names), *rest])
    if best is not None:
        head = "# The best of a search by validation; run: recbole-raserec run --config_files=" + str(folder)
        write_text(folder / "best.yaml", f"{head}/best.yaml\n{yaml.safe_dump(best)}")


def format_trials(trials: list[dict[str, Any]], metric: str) -> str:
    """The trials as an aligned table, best first. Scores are validation figures."""
    names = sorted({name for trial in trials for name in trial["point"]})
    rows = [["", *names, f"valid {metric}", "backbone", "seconds", "status"]]
    for number, trial in enumerate(trials[:_SHOWN], 1):
        point = [_short(trial["point"].get(name)) for name in names]
        figures = [_short(trial.get(name)) for name in ("score", "backbone", "seconds")]
        rows.append([str(number), *point, *figures, trial["error"] or trial["status"]])
    return "\n".join(aligned(rows))


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
