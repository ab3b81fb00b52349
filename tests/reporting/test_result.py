from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from recbole_raserec.errors import DataError
from recbole_raserec.reporting.result import VERSION, Result, read_result, write_result

FOLDER = Path(__file__).parents[2] / "benchmarks" / "results"
FILES = [*sorted(FOLDER.glob("amazon-*.json")), *sorted(FOLDER.glob("sensitivity/*.json"))]


@pytest.fixture(scope="module")
def content():
    """JSON of a file that has every part except the mixture."""
    found = json.loads((FOLDER / "sensitivity" / "beauty-sasrec-default-2020.json").read_text())
    return {"version": VERSION, **found, "regeneration": {"counts": {"pairs": 3}}}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_benchmarks_reads_and_loses_nothing(file):
    found = json.loads(file.read_text())
    assert read_result(file) == {"version": 0, **found}


def test_json_is_one_line_and_reads_back(content):
    result = Result.from_json(content)
    text = result.to_json()
    assert text == json.dumps(content, separators=(",", ":"))
    assert Result.from_json(text) == result == content
    assert Result.from_json(text).to_json() == text


def test_a_file_is_written_whole(content, own_folder):
    result = Result.from_json(content)
    write_result("out/r.json", result)
    assert Path("out/r.json").read_text() == result.to_json() + "\n"
    assert read_result("out/r.json") == result


def test_a_result_is_a_mapping_of_its_json(content):
    result = Result.from_json(content)
    assert result["raserec"]["test"]["masked"]["ndcg@10"] == content["raserec"]["test"]["masked"]["ndcg@10"]
    assert result.seed == result["seed"] == 2020
    assert result.keys() == content.keys()
    assert len(result) == len(content)
    assert {**result} == content
    assert "portrait" in result
    assert pickle.loads(pickle.dumps(result)) == result  # as it comes from the first of several processes
    for name in ("to_json", "accuracy"):
        assert name not in result
    with pytest.raises(AttributeError):
        result.seed = 1
    with pytest.raises(TypeError):
        result["seed"] = 1


def test_parts_that_a_run_has_not_are_not_in_its_json(content):
    parts = {"portrait", "drift", "regeneration"}
    result = Result.from_json({name: value for name, value in content.items() if name not in parts})
    assert result.drift is None
    assert "drift" not in result
    assert result.keys() == content.keys() - parts
    assert not parts & json.loads(result.to_json()).keys()


def test_the_first_files_had_fewer_parts(content):
    later = {"version", "groups", "test_ranks", "train_losses"}
    oldest = {name: value for name, value in content.items() if name not in later}
    result = Result.from_json(oldest)
    assert result == {"version": 0, **oldest}
    assert "groups" not in result
    with pytest.raises(DataError, match="it has no groups, test_ranks, train_losses"):
        Result.from_json({**oldest, "version": 1})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": ...}, "it has no seed"),
        ({"raserec": 1}, "its raserec is not one of a run"),
        ({"backbone": {"name": "SASRec"}}, "its backbone is not one of a run"),
        ({"version": "1"}, "not a result of run"),
    ],
)
def test_what_is_no_result_names_the_file_and_the_mend(content, change, problem, own_folder):
    changed = {name: value for name, value in {**content, **change}.items() if value is not ...}
    Path("r.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match=problem) as error:
        read_result("r.json")
    assert "r.json" in str(error.value)
    assert "--result_file=FILE" in str(error.value)


@pytest.mark.parametrize("written", [None, b"", b"{", b"[]", b"7", b"\xff\xfe"])
def test_what_is_no_json_names_the_file_and_the_mend(written, own_folder):
    if written is not None:
        Path("r.json").write_bytes(written)
    with pytest.raises(DataError, match=r"result='r\.json': .*--result_file=FILE"):
        read_result("r.json")


def test_a_later_version_asks_for_a_later_package(content):
    with pytest.raises(DataError, match=rf"version {VERSION + 1} .* up to {VERSION}\. pip install --upgrade"):
        Result.from_json({"version": VERSION + 1, "other": content}, "r.json")  # whatever it holds
