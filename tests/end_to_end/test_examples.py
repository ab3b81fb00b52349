"""The examples do what the pages say. They train, so `make test-all` runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from benchmarks.examples import blocks, output_of
from benchmarks.render import PAGES

pytestmark = pytest.mark.slow


def _without_seconds(text: str) -> list[str]:
    """The lines without the seconds, and without the part of a file's name that the number of threads changes."""
    lines = [line for line in text.splitlines() if not line.startswith("seconds: ")]
    return [re.sub(r"-[0-9a-f]{10}\.pth", ".pth", line) for line in lines]


def _without_places(text: str) -> list[str]:
    """The lines of a list in any order, without their places, which near ties change from processor to processor."""
    return sorted(re.sub(r"^\d+\. ", "", line) for line in text.splitlines())


def test_from_make_run_to_recommendations_with_reasons(tmp_path):
    """The README's output, from the main job's own model."""
    root = PAGES["README"].parent
    words = ["--model=RaSeRec", "--dataset=ml-100k", "--result_file=result.json", "--show_progress=False"]
    threads = {**os.environ, "OMP_NUM_THREADS": "2"}  # those of the page: another number gives other last digits
    program = [sys.executable, str(root / "run_recbole_raserec.py"), *words]
    subprocess.run(program, cwd=tmp_path, env=threads, check=True)
    made = blocks(tmp_path / "result.json")
    for page, name, block in made:
        told = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page.read_text(encoding="utf-8"), re.S)
        assert told
        same = _without_places if name == "example" else _without_seconds
        assert same(told[1]) == same(block)
    assert blocks(tmp_path / "result.json") == made  # nothing of the first call is left


def test_from_a_table_of_your_own(tmp_path):
    lines = output_of("own_csv", folder=tmp_path).splitlines()[-4:]
    assert ["part 5" in lines[0], "part 21" in lines[2]] == [True, True]


def test_a_backbone_of_ones_own(tmp_path):
    assert "RaSeRec on MeanOfLast, trained on ml-100k: 943 users" in output_of("own_backbone", folder=tmp_path)


def test_stock_gru4rec_on_regenerated_rows(tmp_path):
    printed = output_of("stock_gru4rec", folder=tmp_path)
    before, after = map(float, re.search(r"GRU4Rec: ([\d.]+) regenerated: ([\d.]+)", printed).groups())
    assert 0 < before <= 1
    assert 0 < after <= 1


def test_a_search_and_its_best(tmp_path):
    printed = output_of("tune", folder=tmp_path)
    assert "best: " in printed
    assert "RaSeRec on SASRec, trained on ml-100k" in printed
