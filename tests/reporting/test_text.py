"""The printed text, compared character by character."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_raserec.reporting.result import Result
from recbole_raserec.reporting.text import format_result, verdict

FILE = Path(__file__).parents[2] / "benchmarks" / "results" / "sensitivity" / "beauty-sasrec-default-2020.json"
TABLE = """
RaSeRec on SASRec, trained on beauty: 22,363 users, 12,101 items, 198,502 interactions, seed 2020
unmasked ndcg@10 0.0500 -> 0.0510, +2.0 % [-1.0, +5.0]: no difference that 22,363 users can show
masked ndcg@10 0.0000 -> 0.0510, no gain in percent, because the backbone's is 0
model and memory: saved/m.pth
seconds: load 1, pretrain 61; peak memory 700 MiB

test, unmasked                 ndcg@10
SASRec                          0.0500
RaSeRec, training pairs *       0.0510
  gain, %                         +2.0
    from                          -1.0
    to                            +5.0
RaSeRec, validation pairs too   0.0550
  gain, %                        +10.0
    from                             -
    to                               -

test, masked                   ndcg@10
SASRec                          0.0000
RaSeRec, training pairs *       0.0510
  gain, %                            -
    from                             -
    to                               -
RaSeRec, validation pairs too   0.0550
  gain, %                            -
    from                             -
    to                               -

gain: over the backbone on the same users, with the ends of its 95 % interval
* this memory's figures are raserec.test and improvement in the result file (memory_include_valid)

next (a line of h.jsonl is {"history": [ITEM, ITEM, ...]}):
  recbole-raserec recommend --model_file=saved/m.pth --input=h.jsonl
  recbole-raserec serve --model_file=saved/m.pth
  recbole-raserec report r.json
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
    content["raserec"]["test"] = content["raserec"]["test_by_memory"]["train"]["test"]
    content["improvement"], content["improvement_masked"] = ({"ndcg@10": g} for g in (gains["train"], [None] * 3))
    content["config"] |= {"result_file": "r.json"}
    return {**content, "model_file": "saved/m.pth", "seconds": {"load": 1.2, "pretrain": 60.9}, "peak_rss_mib": 700.1}


def test_the_table_of_a_result(result):
    assert format_result(Result.from_json(result)) == TABLE.strip()


def test_without_retrieval_there_is_no_gain_to_show(result):
    result["raserec"]["choice"] = {"retrieval": False, "strength": 0.0, "popularity_adjustment": 0.0, "note": "none: a"}
    result["raserec"]["test"] = result["backbone"]["test"]
    summary, unmasked, masked, *_ = format_result(Result.from_json(result)).split("\n\n")
    assert "unmasked ndcg@10 0.0500 -> 0.0500, the backbone's own scores\n" in summary
    assert "safeguard: none: a\n--safeguard=False uses the best" in summary
    assert unmasked.splitlines()[1:] == ["SASRec                  0.0500", "RaSeRec, no retrieval   0.0500"]
    assert len(masked.splitlines()) == 3


def test_a_long_path_stays_in_one_line(result):
    path = f"saved/{'-'.join(['a-long-name'] * 12)}.pth"
    assert path in format_result(Result.from_json({**result, "model_file": path}))


def test_the_mixture_stands_under_the_tables(result):
    result["raserec"]["mixture"] = {"weight": 0.3, "tau": 0.1, "tried": []}
    before, after = format_result(Result.from_json(result)).split("mixture by validation: weight 0.3, tau 0.1\n")
    assert before + after == TABLE.strip()


def test_an_exponent_of_the_votes_is_shown(result):
    result["raserec"]["mixture"] = {"weight": 0.3, "tau": 0.1, "exponent": 0.25, "tried": []}
    assert "weight 0.3, tau 0.1, popularity exponent 0.25\n" in format_result(Result.from_json(result))


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ([5.8, 4.7, 7.1], "+5.8 % [+4.7, +7.1]: retrieval helps"),
        ([-9.1, -16.5, -1.5], "-9.1 % [-16.5, -1.5]: retrieval hurts"),
        ([1.0, 0.0, 2.0], "+1.0 % [+0.0, +2.0]: no difference that 1,943 users can show"),
        ([3.0, None, None], "+3.0 % without an interval"),
    ],
)
def test_words_follow_the_interval(interval, words):
    assert verdict(interval, 1943) == words


def test_a_run_prints_at_most_100_columns(result):
    printed = json.loads((FILE.parent.parent / "amazon-sports-duorec-full-2020.json").read_text())
    lines = format_result(Result.from_json({**printed, "model_file": "saved/ml-100k-RaSeRec-SASRec-3a68e14fac.pth"}))
    assert max(map(len, lines.splitlines())) <= 100
