from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.end_to_end import STAGES, WHOLE, growth
from benchmarks.size_tables import end_to_end_table, search_table, stride_table
from benchmarks.synthetic import write_long_histories


def row(interactions: int, power: float, catalogue: str = "grows") -> dict:
    measured = {"seconds": interactions**power, "cpu_s": float(interactions), "peak_mib": 400.0}
    stages = {stage: measured for stage in (*STAGES, WHOLE)}
    machine = {"threads": 2}
    return {
        "interactions": interactions,
        "items": 9,
        "catalogue": catalogue,
        "stages": stages,
        "machine": machine,
    }


def test_growth_is_the_power_of_the_interactions():
    rows = [row(10, 1.5), row(1000, 1.5), row(10**6, 1.0, "fixed")]
    slopes = growth(rows)
    assert slopes["seconds"] == pytest.approx(dict.fromkeys((*STAGES, WHOLE), 1.5))
    assert slopes["cpu_s"]["search"] == 1
    assert growth(rows[:1]) == {}
    table = end_to_end_table({"rows": rows, "growth": slopes})
    assert "| whole | 31.6 s, 400 MiB | 31,622.8 s, 400 MiB | 1,000,000.0 s, 400 MiB | 1.50 |" in table


def test_the_table_of_strides_has_the_interval():
    shared = {"dataset": "d", "seed": 1, "items_read_a_pair": 2.0, "epoch_cpu_s": 3.25, "peak_mib": 612.3, "valid": 0.1}
    rows = [
        {**shared, "window_stride": 1, "stride": 1},
        {**shared, "window_stride": "auto", "stride": 25, "gain_over_exact": [1.0, -2.0, 4.0]},
    ]
    lines = stride_table({"rows": rows}).splitlines()
    assert lines[2] == "| d, 1 | 1 | 2.00 | 3.2 | 612 | .1000 |  |"
    assert lines[3] == "| d, 1 | auto (25) | 2.00 | 3.2 | 612 | .1000 | +1.0 [-2.0, +4.0] |"


def test_the_table_of_searches_has_those_of_parts_beside_faiss():
    part = {
        "memories": 131_413, "data": {"keys": "clusters"}, "index_factory": "lists", "factory": "lists",
        "index_recall": 0.98, "build_s": 1.24, "part_recall": 0.9804, "part_ms_a_query": 0.0421,
        "faiss_ms_a_query": 8.85, "ratio": {"median": 210.4, "least": 3.2, "most": 980.0}, "peak_mib": 1071.6,
    }  # fmt: skip
    single = {name: part[name] for name in ("memories", "data", "index_factory", "index_recall")}
    rows = [{**part, "index_recall": 0.0}, part, {**part, "index_factory": "auto"}, single]
    lines = search_table({"rows": rows}).splitlines()
    assert len(lines) == 4 and " lists | " in lines[2]
    assert lines[3] == (
        "| 131,413, clusters | lists for a recall of 0.98 | 1.2 | 0.980 | 0.0421 | 8.85 | 210 [3.2, 980] | 1,072 |"
    )


def test_long_histories_are_those_of_the_description(own_folder: Path):
    name = write_long_histories(own_folder)
    users, _, times = np.loadtxt(own_folder / name / f"{name}.inter", skiprows=1, dtype=int).T
    lengths = np.bincount(users)[1:]
    assert len(users) == 52_551
    assert lengths.min() >= 5
    assert lengths.max() == 899
    assert 47 < lengths.mean() < 49
    assert 0.45 < np.maximum(lengths - 50, 0).sum() / len(users) < 0.55
    assert times.max() == 898
