"""Planted files and words execute nothing."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from recbole_raserec.cli import main
from recbole_raserec.config.config import Config
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.runtime.plain_yaml import load_yaml
from recbole_raserec.runtime.shield import SafeConfig, recbole_data, shielded
from recbole_raserec.training import checkpoints
from recbole_raserec.tuning.space import read_space

CALL = "__import__('pathlib').Path('touched').touch()"
YAML = f"alpha: !!python/object/apply:eval ['{CALL.replace(chr(39), chr(34))}']\n"


class Evil:
    def __reduce__(self):
        return eval, (CALL,)


@pytest.fixture(autouse=True)
def untouched(own_folder):
    yield
    assert not Path("touched").exists()


def test_the_planted_pickle_would_work(own_folder):
    pickle.loads(pickle.dumps(Evil()))
    Path("touched").unlink()  # fails if nothing was executed


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint(legacy):
    torch.save({"format": 1, "stage": Evil()}, "evil.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConfigError, match=r"evil\.pth.*not a checkpoint"):
        checkpoints.load("evil.pth", "cpu")
    assert list(checkpoints.candidates(Path("evil.pth"), "cpu")) == []


@pytest.mark.parametrize(
    "word", [f"--topk={CALL}", f"--alpha={CALL}", f"--learning_rate=[{CALL}]", f"--backbone={CALL}"]
)
def test_a_word_of_the_command_line(word, capsys):
    assert main(["run", "--model=RaSeRec", "--dataset=ml-100k", word]) == 2
    assert "error:" in capsys.readouterr().err


def test_recboles_own_config_evaluates_nothing(monkeypatch):
    monkeypatch.setattr("sys.argv", ["program", f"--anything={CALL}"])
    Path("evil.yaml").write_text(YAML)
    with pytest.raises(Exception, match=r"could not determine a constructor|python/object"):
        SafeConfig("SASRec", "ml-100k", ["evil.yaml"], {"train_neg_sample_args": None})
    found = SafeConfig("SASRec", "ml-100k", None, {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": "2+3"})
    assert found["anything"] == CALL
    assert found["MAX_ITEM_LIST_LENGTH"] == "2+3"
    assert found["learning_rate"] == 0.001  # scientific numbers of RecBole's properties are numbers


def test_recboles_pickles_are_not_read():
    torch.save({"config": Evil()}, "evil.pth")
    with pytest.raises(pickle.UnpicklingError), shielded():
        torch.load("evil.pth")
    Path("data.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConfigError, match="pickled data set"), shielded(), open("data.pth", "rb") as file:
        recbole_data.pickle.load(file)
    with shielded():  # what it wrote itself, it may read
        torch.save({"path": Path("own")}, "own.pth")
        assert torch.load("own.pth") == {"path": Path("own")}


def test_yaml():
    Path("evil.yaml").write_text(YAML)
    with pytest.raises(ConfigError, match="python/object"):
        Config("RaSeRec", "ml-100k", ["evil.yaml"])
    with pytest.raises(ConfigError, match="python/object"):
        read_space("evil.yaml")


@pytest.mark.parametrize("text", ["[" * 5000, "a: &a [*a]", "- " * 5000, "d: 2020-13-01"])
def test_yaml_of_a_strange_form_is_one_error(text):
    Path("odd.yaml").write_text(text)
    with pytest.raises(ConfigError):
        read_space("odd.yaml")
    assert load_yaml("a: {b: [1, 1.5e3, x]}") == {"a": {"b": [1, "1.5e3", "x"]}}


def test_a_line_of_a_params_file():
    Path("evil.test").write_text(f"alpha choice [{CALL}]\n")
    with pytest.raises(ConfigError, match="not a list of values"):
        read_space("evil.test")


def test_a_title_and_a_name_in_the_report():
    from recbole_raserec.reporting.page import write_report

    source = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("amazon-*.json"))[0]
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    content = json.loads(source.read_text(encoding="utf-8"))
    content["dataset"]["name"] = content["backbone"]["name"] = evil
    Path("evil.json").write_text(json.dumps(content))
    text = write_report(["evil.json"], "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text and "<img src=x" not in text


@pytest.mark.parametrize("text", ["[" * 10**5, '{"version": 1}', "{}", "\0", '{"version": "__import__"}'])
def test_a_result_of_a_strange_form_is_one_error(text):
    from recbole_raserec.reporting.result import read_result

    Path("odd.json").write_text(text)
    with pytest.raises(DataError):
        read_result("odd.json")
