"""``benchmarks/kills_http.py`` on the trained model. Run by `make test-all`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.parametrize("trained", ["attention"], indirect=True)]


def test_no_acknowledged_change_is_lost(trained, tmp_path):
    words = [f"--model_file={trained.path}", "--kills=200", f"--output={tmp_path / 'kills.json'}"]
    program = [sys.executable, str(HERE / "benchmarks" / "kills_http.py"), *words]
    done = subprocess.run(program, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "kills.json").read_text())
    assert result["kills"] == 200
    assert result["acknowledged add"] > 200
    assert result["acknowledged forget"] > 50
    assert result["cut short, not done"] > 0
