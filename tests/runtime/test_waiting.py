from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = "from recbole_raserec.cli import script; script(['run', '--model=RaSeRec', '--dataset=there-is-none'])"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch does not use GNU OpenMP")
@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_threads_of_a_command_spin_shortly_unless_told_otherwise(given, spins):
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**kept, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
