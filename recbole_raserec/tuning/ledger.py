"""The ended trials of a search, on disk. A search that was killed continues from them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.files import check_writable, write_text

_REPORTED = ("score", "stage", "validations", "finished", "backbone", "valid")


def point_key(point: dict[str, Any]) -> str:
    """A short identifier of a point of the search."""
    return hashlib.sha256(json.dumps(point, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Ledger:
    """Stores one file for each ended trial, so a search that was killed can continue.

    Parameters
    ----------
    folder : folder of the files.
    resume : if False, a folder that already has files is an error.
    base : identifies what all trials have in common. A folder of trials with another base is an error.
    """

    def __init__(self, folder: Path, resume: bool, base: str) -> None:
        self.folder = folder
        begun, common = any(folder.glob("*.json")), folder / "base"
        if begun and not resume:
            mend = "add --resume=True to continue it, or give another --output"
            raise ConfigError("output", str(folder.parent), "already holds a search", mend)
        check_writable("output", folder)
        if begun and common.is_file() and common.read_text(encoding="utf-8") != base:
            problem = "its trials have another data set or other parameters than this search"
            raise ConfigError("output", str(folder.parent), problem, "give those again, or another --output")
        if not (common.is_file() and begun):
            write_text(common, base)

    def read(self) -> dict[str, dict[str, Any]]:
        """The last report of each trial that did not fail, under the key of its point."""
        return {path.stem: trial["report"] for path, trial in self._entries() if trial["status"] != "failed"}

    def trials(self) -> list[dict[str, Any]]:
        """All ended trials, the best first and failed trials last."""
        entries = [{name: value for name, value in trial.items() if name != "report"} for _, trial in self._entries()]
        return sorted(entries, key=lambda trial: (trial["score"] is None, -(trial["score"] or 0.0)))

    def write(self, point: dict[str, Any], trial: dict[str, Any]) -> None:
        """Store a trial."""
        write_text(self.folder / f"{point_key(point)}.json", json.dumps(trial, indent=1) + "\n")

    def write_failures(self, results: Any, as_run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Store the failed trials of Ray Tune's ResultGrid. The callback runs too early: it does not know the errors.

        ``as_run`` converts a sampled point to the values in the configuration.
        """
        for result in results:
            if result.error is not None:
                error = str(result.error).strip().splitlines()[-1]
                failed = {"point": as_run(result.config), "status": "failed", "score": None, "error": error}
                self.write(result.config, failed)

    def _entries(self) -> list[tuple[Path, dict[str, Any]]]:
        found = [(path, _read(path)) for path in sorted(self.folder.glob("*.json"))]
        return [(path, trial) for path, trial in found if trial is not None]

    def callback(self, as_run: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
        """A Ray Tune callback that stores trials, in the process of the search; ``as_run`` as in write_failures."""
        from ray.tune import Callback

        ledger = self

        class Writer(Callback):
            def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
                last = trial.last_result
                report = {name: last[name] for name in _REPORTED if name in last}
                status = "finished" if report.get("finished") else "stopped early"
                known = ledger.folder / f"{point_key(trial.config)}.json"
                earlier = _read(known) if known.is_file() else None
                if earlier is not None and earlier["status"] != "failed":
                    return  # an earlier search stored it
                point = as_run(trial.config)
                seconds = round(last.get("time_total_s", 0.0), 1)
                shown = {name: report.get(name) for name in ("score", "backbone", "validations", "valid")}
                rest = {"seconds": seconds, "error": None, "report": report}
                ledger.write(trial.config, {"point": point, "status": status, **shown, **rest})

        return Writer()


def _read(path: Path) -> dict[str, Any] | None:
    """A stored trial. None, and a line in the log, if the file is damaged; then the trial is run again."""
    try:
        trial = json.loads(path.read_text(encoding="utf-8"))
        is_whole = isinstance(trial["point"], dict) and isinstance(trial["status"], str)
        is_whole = is_whole and (trial["score"] is None or isinstance(trial["score"], (int, float)))
        if is_whole and (trial["status"] == "failed" or isinstance(trial["report"], dict)):
            return trial
        problem = "not a trial"
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        problem = type(error).__name__
    logging.getLogger().warning(f"refused: {path} ({problem}); its trial is run again")
    return None
