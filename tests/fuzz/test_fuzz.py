"""A slice of benchmarks/fuzz.py: no reader answers a mutated file with another error than ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import fuzz, fuzz_targets  # noqa: E402

FAST = {name: 150 for name in ("words", "body", "sequences", "csv", "json", "json.gz", "amazon-csv", "amazon-json",
                               "histories.jsonl", "titles", "yaml", "search.yaml", "params", "result", "ledger",
                               "checkpoint", "convert", "atomic")} | {"report": 3}  # fmt: skip


@pytest.mark.parametrize("name", FAST)
def test_mutated_inputs_are_one_error(name, monkeypatch):
    monkeypatch.setattr(fuzz, "SLOW", float("inf"))  # how long one takes is for a quiet machine
    found = fuzz.one(name, seconds=600, seed=1, executions=FAST[name])
    assert found["executions"] >= FAST[name]
    assert found["findings"] == {}


def test_every_target_is_fuzzed(tmp_path):
    assert set(fuzz_targets.targets(tmp_path)) == set(FAST)


def test_a_reader_that_fails_is_found():
    def read(data: bytes) -> None:
        if data != b"good":
            raise KeyError("no such thing")

    watch = fuzz.Watch(fuzz_targets.Target(read, [b"good"]))
    for data in (b"good", b"bad"):
        watch(data)
    assert [found["times"] for found in watch.findings.values()] == [1]


@pytest.mark.slow
def test_five_minutes_find_nothing(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "fuzz.py", "--seconds=300", f"--output={tmp_path / 'fuzz.json'}"]
    subprocess.run(command, check=True)
    targets = json.loads((tmp_path / "fuzz.json").read_text(encoding="utf-8"))["targets"]
    assert {name: target["findings"] for name, target in targets.items() if target["findings"]} == {}
