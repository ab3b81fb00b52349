"""The tables of settings beside preset full say what the result files say."""

from __future__ import annotations

import numpy as np

from benchmarks.beside_full import beside_full_table, decoded_table, lever_table
from benchmarks.tables import METRICS, PROTOCOLS
from recbole_raserec.evaluation.significance import pack_ranks

CONFIG = {"metrics": ["NDCG"], "topk": [5, 10, 20], "metric_decimal_place": 6, "valid_metric": "NDCG@10"}


def run(seed: int, backbone: int, raserec: int) -> dict:
    """A run in which every user's target has the rank ``backbone``, and ``raserec`` with retrieval."""
    ranks = {"backbone": backbone, "train": raserec}
    test = {side: {p: dict.fromkeys(METRICS, 1 / rank) for p in PROTOCOLS} for side, rank in ranks.items()}
    return {
        "seed": seed,
        "config": CONFIG,
        "dataset": {"name": "data", "sha256": "s"},
        "backbone": {"name": "SASRec", "test": test["backbone"]},
        "raserec": {"test_by_memory": {"train": {"test": test["train"]}}},
        "test_ranks": {side: {p: pack_ranks(np.full(40, rank), 20) for p in PROTOCOLS} for side, rank in ranks.items()},
    }


def test_a_row_is_compared_with_its_backbone_and_with_full_of_the_same_seeds():
    table = beside_full_table([run(1, 4, 2), run(2, 4, 1)], {"other": [run(2, 2, 2)]}).splitlines()
    first = "| SASRec, `--preset=full`, 2 seeds | unmasked | .2500 ±.0000 | .7500 ±.2500 |"
    assert table[2] == f"{first} +89.3 [+89.3, +89.3] |  |  |"
    last = "| other, seed 2 | masked | .5000 | .5000 | +0.0 [+0.0, +0.0] |"
    assert table[-1] == f"{last} +46.5 [+46.5, +46.5] | -36.9 [-36.9, -36.9] |"


def test_the_table_of_changes_has_the_gain_over_the_preset():
    valid = {protocol: {"recall@10": 0.1, "ndcg@10": 0.05} for protocol in ("unmasked", "masked")}
    shared = {"dataset": "d", "seed": 1, "best_epoch": 7, "valid": valid, "changed": {}}
    gain = {"unmasked": {"ndcg@10": [1.0, -2.0, 4.0]}, "masked": {"ndcg@10": [-1.0, -3.0, 0.5]}}
    changes = [{**shared, "variant": name, "gain": gain} for name in ("gamma 0", "L2 1e-5")]
    changes[0]["rows"] = 1234
    changes.append({**shared, "variant": "learned weights", "changed": {"regenerate": "DR4SR+"}, "gain": gain})
    result = {"rows": [{**shared, "variant": "preset full"}, *changes]}
    ends = ".1000 | .0500 | +1.0 [-2.0, +4.0] | .1000 | .0500 | -1.0 [-3.0, +0.5] |"
    preset, *decoded, _, missing = decoded_table(result).splitlines()[2:]
    assert preset == "| d, 1 | preset full | 0 | 7 | .1000 | .0500 |  | .1000 | .0500 |  |"
    assert decoded == [f"| d, 1 | gamma 0 | 1,234 | 7 | {ends}", f"| d, 1 | learned weights | 0 | 7 | {ends}"]
    assert missing.startswith("The program knows these changes too, and they were not measured: gamma 1; ")
    assert "gamma 0" not in missing
    preset, lever, _, missing = lever_table(result).splitlines()[2:]
    assert preset == "| d, 1 | preset full | 7 | .1000 | .0500 |  | .1000 | .0500 |  |"
    assert lever == f"| d, 1 | L2 1e-5 | 7 | {ends}"
    assert "L2 1e-4; " in missing
    assert "L2 1e-5" not in missing
