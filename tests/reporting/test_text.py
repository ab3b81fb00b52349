"""The printed text, compared character by character."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_raserec.reporting.result import Result
from recbole_raserec.reporting.text import format_result

FILE = Path(__file__).parents[2] / "benchmarks" / "results" / "sensitivity" / "beauty-sasrec-default-2020.json"
TABLE = """
beauty: 22,363 users, 12,101 items, 198,502 interactions, 22,363 test users, seed 2020
backbone SASRec; gain in percent with its 95 % interval over paired users

test, unmasked                                              ndcg@10
SASRec                                                       0.0500
RaSeRec, memory of training pairs *                          0.0510
  gain                                            +2.0 [-1.0, +5.0]
RaSeRec, memory of training and validation pairs             0.0550
  gain                                                        +10.0

test, masked                                      ndcg@10
SASRec                                             0.0000
RaSeRec, memory of training pairs *                0.0510
  gain                                                  -
RaSeRec, memory of training and validation pairs   0.0550
  gain                                                  -

* the figures under raserec.test and improvement in the result file (memory_include_valid)
seconds: load 1, pretrain 61; peak memory 700 MiB
"""


@pytest.fixture
def result():
    """A result with one metric; the backbone hits nothing under ``masked``."""
    content = json.loads(FILE.read_text())
    gains = {"train": [2.0, -1.0, 5.0], "train+valid": [10.0, None, None]}
    content["dataset"]["name"] = "beauty"
    content["backbone"]["test"] = {"unmasked": {"ndcg@10": 0.05}, "masked": {"ndcg@10": 0.0}}
    for memory, value in {"train": 0.051, "train+valid": 0.055}.items():
        content["raserec"]["test_by_memory"][memory] = {
            "test": {protocol: {"ndcg@10": value} for protocol in ("unmasked", "masked")},
            "improvement": {"unmasked": {"ndcg@10": gains[memory]}, "masked": {"ndcg@10": [None, None, None]}},
        }
    return {**content, "seconds": {"load": 1.2, "pretrain": 60.9}, "peak_rss_mib": 700.1}


def test_the_table_of_a_result(result):
    assert format_result(Result.from_json(result)) == TABLE.strip()


def test_the_mixture_stands_under_the_tables(result):
    result["raserec"]["mixture"] = {"weight": 0.3, "tau": 0.1, "tried": []}
    before, after = format_result(Result.from_json(result)).split("mixture by validation: weight 0.3, tau 0.1\n")
    assert before + after == TABLE.strip()
