from __future__ import annotations

import os
import subprocess
import sys

import pytest

from recbole_raserec.runtime.waiting import spin_briefly

CODE = "from recbole_raserec.cli import script; script(['run', '--model=RaSeRec', '--dataset=there-is-none'])"
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch does not use GNU OpenMP")
def test_threads_of_a_command_spin_shortly():
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**kept, "OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "GOMP_SPINCOUNT = '3000'" in done.stderr


@pytest.mark.parametrize("given", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive"}])
def test_threads_spin_as_the_environment_says(given, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    spin_briefly()
    assert {name: os.environ[name] for name in NAMES if name in os.environ} == given
