"""Processes of their own for measurements, and what a result says of the conditions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def of_child(script: str, options: dict[str, str]) -> dict[str, Any]:
    """What ``script --one`` prints last, as JSON. It finds ``options`` in the environment."""
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONWARNINGS": "ignore", "OPTIONS": json.dumps(options)}
    command = [sys.executable, str(Path(script).resolve()), "--one"]
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
