"""What each group of users gains over all seeds together: ``python benchmarks/seed_groups.py``.

  --results=FOLDER      the folder of the result files; benchmarks/results
  --data_path=dataset   the folder of the data sets
  --output=FILE         benchmarks/results/safeguard-groups.json

A result file has the groups' gains under its own seed. Here a user's gain is the mean over the seeds, and users are
resampled. Result files have no targets, so the data are read again, and each group's figures are compared with those of
the files first. The runs are those of docs/safeguard.md: under the safeguard, without a preset, and of the presets full
and best.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from benchmarks import read_options  # noqa: E402
from benchmarks.tables import RESAMPLING, ranks_of, ranks_sha256  # noqa: E402
from recbole_raserec.config.config import Config  # noqa: E402
from recbole_raserec.data.dataset import load_dataset  # noqa: E402
from recbole_raserec.evaluation.groups import user_groups  # noqa: E402
from recbole_raserec.evaluation.metrics import Metrics, both_protocols  # noqa: E402
from recbole_raserec.evaluation.ranking import Ranks  # noqa: E402
from recbole_raserec.evaluation.significance import improvements  # noqa: E402
from recbole_raserec.reporting.result import Result, read_result  # noqa: E402
from recbole_raserec.runtime.files import json_line, replacing  # noqa: E402
from recbole_raserec.runtime.recbole_faults import quieten  # noqa: E402


def main(argv: list[str]) -> None:
    results = HERE / "results"
    defaults = {"results": str(results), "data_path": "dataset", "output": str(results / "safeguard-groups.json")}
    options = read_options(argv, defaults)
    quieten()
    rows = [pooled(runs, options["data_path"]) for runs in same_but_for_the_seed(Path(options["results"]))]
    with replacing(Path(options["output"])) as file:
        file.write_text(json_line({"rows": rows}) + "\n", encoding="utf-8")


def same_but_for_the_seed(results: Path) -> Iterator[list[Result]]:
    """The runs of each data set, backbone and setting, with the seeds of those under the safeguard."""
    of_name: dict[str, list[str]] = {}
    for file in sorted((results / "safeguard").glob("*.json")):
        name, seed = file.stem.rsplit("-", 1)
        of_name.setdefault(name, []).append(seed)
    for name, seeds in of_name.items():
        plain = f"amazon-{name.removesuffix('-full')}"
        for start in (plain, f"{plain}-full", f"{plain}-best", f"safeguard/{name}"):
            files = [results / f"{start}-{seed}.json" for seed in seeds]
            if found := [file for file in files if file.exists()]:
                yield list(map(read_result, found))


def pooled(runs: list[Result], data_path: str) -> dict[str, Any]:
    """What identifies the runs, and the gain of each group in each metric."""
    first = runs[0]
    name, metrics = first.dataset["name"], Metrics.of(first.config)
    data = load_dataset(Config("RaSeRec", name, None, {"data_path": data_path, "show_progress": False}, []))
    for run in runs:
        if run.dataset["sha256"] != data.sha256:
            sys.exit(f"error: {name} in {data_path} has SHA-256 {data.sha256}, the runs have {run.dataset['sha256']}")
    kinds = user_groups(data.sequences.test_part(), data.sequences.training_counts(data.item_num))
    groups = {
        kind: {group: {"improvement": _gains(runs, rows, kind, group, metrics)} for group, rows in of_kind.items()}
        for kind, of_kind in kinds.items()
    }
    facts = {"dataset": first.dataset, "backbone": {"name": first.backbone["name"]}, "versions": first.versions}
    which = {"seeds": [run.seed for run in runs], "ranks_sha256": ranks_sha256(runs)}
    return {**facts, **which, "groups": groups}


def _gains(
    runs: list[Result], rows: np.ndarray, kind: str, group: str, metrics: Metrics
) -> dict[str, dict[str, list[float | None]]]:
    """The gain of a group's rows in each metric under each protocol."""
    base, new = (
        Ranks(ranks.unmasked[:, rows], ranks.masked[:, rows])
        for ranks in (ranks_of(runs, side) for side in ("backbone", "train"))
    )
    for run, *of_run in zip(runs, base.unmasked, base.masked):
        assert both_protocols(Ranks(*of_run), metrics) == run.groups[kind][group]["backbone"], (run.seed, group)
    return improvements(base, new, metrics, RESAMPLING)


if __name__ == "__main__":
    main(sys.argv[1:])
