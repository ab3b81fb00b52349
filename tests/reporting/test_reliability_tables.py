from __future__ import annotations

from benchmarks import reliability_tables


def test_faults_count_also_those_that_a_run_survived():
    result = {
        "boundaries": {"write": 3, "fsync": 2}, "every": 1, "digest": "",
        "faults": {"kill": 5, "torn": 3, "EIO": 4, "EIO, survived": 1},
        "random": {"kills": 100, "runs": 30},
    }  # fmt: skip
    text = reliability_tables.faults_table(result)
    assert "each of the short pipeline's 5 boundaries (3 write, 2 fsync)" in text
    assert "| killed before the call | 5 | 0 |" in text
    assert "| the call fails: input/output error | 5 | 1 |" in text
    assert "disk full" not in text
    assert "100 SIGKILLs at random moments of 30 runs" in text


def test_readers_are_in_the_order_of_their_executions():
    row = {"executions": 1000, "refused": 250, "seconds": 30.0, "slowest": 0.0123, "engine": "random", "findings": {}}
    targets = {"yaml": row, "csv": {**row, "executions": 2000, "engine": "atheris", "edges": 77, "corpus": 9}}
    text = reliability_tables.fuzz_table({"executions": 3000, "code_sha256": "a" * 64, "targets": targets})
    assert text.startswith("3,000 executions in 1 minutes (atheris, random)")
    assert text.splitlines()[-2:] == [
        "| `csv` | 2,000 | 0.5 | 12% | 77 | 9 | 12 | 0 |",
        "| `yaml` | 1,000 | 0.5 | 25% |  |  | 12 | 0 |",
    ]
