"""The examples do what the README says. They train, so `make test-all` runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.examples import README, output_of

pytestmark = pytest.mark.slow


def test_from_make_run_to_recommendations_with_reasons(tmp_path):
    """The README's output, from the main job's own model."""
    root = Path(README).parent
    words = ["--model=RaSeRec", "--dataset=ml-100k", "--result_file=result.json", "--show_progress=False"]
    subprocess.run([sys.executable, str(root / "run_recbole_raserec.py"), *words], cwd=tmp_path, check=True)
    told = re.search(r"<!-- example -->\n```\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert told
    assert output_of("recommend", folder=tmp_path) == told[1]
    assert not output_of("recommend", folder=tmp_path).replace(told[1], "")  # nothing of the first call is left


def test_from_a_table_of_your_own(tmp_path):
    lines = output_of("own_csv", folder=tmp_path).splitlines()[-4:]
    assert ["part 5" in lines[0], "part 21" in lines[2]] == [True, True]
