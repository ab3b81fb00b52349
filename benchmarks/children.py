"""Processes of their own for measurements, and what a result says of the conditions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def of_child(script: str, options: dict[str, str], python: str = sys.executable) -> dict[str, Any]:
    """What ``script --one`` prints last, as JSON, run by ``python``. It finds ``options`` in the environment."""
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONWARNINGS": "ignore", "OPTIONS": json.dumps(options)}
    command = [python, str(Path(script).resolve()), "--one"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"error: {options} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def conditions() -> dict[str, Any]:
    """Date, machine and versions."""
    import faiss

    from recbole_raserec.runtime.machine import machine, versions

    where = {**machine("cpu"), "cores": os.cpu_count(), "index_threads": faiss.omp_get_max_threads()}
    return {"date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": where, "versions": versions()}


def best_epoch(curve: list[float]) -> int:
    """The epoch whose weights training keeps: the last of equally good ones, counted from 1."""
    return max(range(len(curve)), key=lambda epoch: (curve[epoch], epoch)) + 1


def add_row(
    output: Path, row: dict[str, Any], identity: Callable[[dict[str, Any]], Any], place: Callable[[dict[str, Any]], Any]
) -> None:
    """Write the row into the output file, instead of one of the same ``identity``; rows are sorted by ``place``."""
    from recbole_raserec.runtime.files import json_line, replacing

    older = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.is_file() else []
    others = [other for other in older if identity(other) != identity(row)]
    with replacing(output) as file:
        file.write_text(json_line({"rows": sorted([*others, row], key=place)}) + "\n", encoding="utf-8")


def measure_each(script: str, options: dict[str, str], identity: Callable[[dict[str, Any]], Any]) -> None:
    """Measure each size and index of ``options`` in a process of its own, and write the row into the output file.

    Rows of another ``identity`` stay in the file.
    """
    from recbole_raserec.runtime.files import json_line

    output = Path(options["output"])
    for size in options["sizes"].strip("[]").replace(" ", "").split(","):
        for index in options["indices"].split(";"):
            row = {**of_child(script, {**options, "size": size, "index": index}), **conditions()}
            print(json_line({name: row[name] for name in row if name not in ("machine", "versions")}), flush=True)
            add_row(output, row, identity, identity)
