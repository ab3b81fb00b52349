"""A slice of benchmarks/kills_pipeline.py: kills and failing calls at some boundaries leave the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks" / "kills_pipeline.py"


def disturbed(output: Path, *options: str) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(PROGRAM), f"--output={output}", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(output.read_text(encoding="utf-8"))


def test_kills_at_some_boundaries_leave_the_same_bits(tmp_path):
    found = disturbed(tmp_path / "kills.json", "--kills=0", "--every=85", "--faults=kill,ENOSPC")
    assert found["faults"]["kill"] >= 2
    assert sum(found["boundaries"].values()) > 100


@pytest.mark.slow
def test_kills_at_every_boundary_and_at_random(tmp_path):
    found = disturbed(tmp_path / "kills.json", "--kills=100")
    assert found["faults"]["kill"] == sum(found["boundaries"].values())
    assert found["random"]["kills"] >= 100


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_ends_a_run_with_its_code(number, code, tiny_data, own_folder):
    words = "run --model=RaSeRec --dataset=tiny --epochs=100000 --stopping_step=100000 --show_progress=False"
    program = [sys.executable, "-c", "from recbole_raserec.cli import script; script()", *words.split()]
    # A shell's background job, and so a suite that is one, ignores SIGINT; its children would too.
    heed = partial(signal.signal, number, signal.SIG_DFL)
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "preexec_fn": heed}
    with subprocess.Popen([*program, f"--data_path={tiny_data}"], **more) as running:
        try:
            assert any("epoch 1 training" in line for line in running.stdout), "it ended before the second epoch"
            assert list(own_folder.glob("saved/*.last.pth"))
            running.send_signal(number)
            error = running.stdout.read()
            running.wait(120)
        finally:
            running.kill()
    assert (running.returncode, "interrupted" in error) == (code, True), error
    assert "--resume=True" in error
