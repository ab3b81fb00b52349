from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_raserec import Recommender
from recbole_raserec.cli import main


@pytest.fixture
def command(trained, tmp_path):
    """Calls a command on the trained model, with a store of its own."""

    def call(name: str, *words: str) -> int:
        store = f"--store={tmp_path / 'cli.memory'}"
        return main([name, f"--model_file={trained.path}", store, "--show_progress=False", *words])

    return call


def write(path: Path, lines: list[dict]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"--input={path}"


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_command_line_answers_as_python_does(command, recommender, histories, tmp_path):
    source = write(tmp_path / "h.jsonl", [{"history": history} for history in histories])
    assert command("recommend", source, f"--output={tmp_path / 'o.jsonl'}", "--explain=True", "--k=7") == 0
    answers = read(tmp_path / "o.jsonl")
    frame = recommender.recommend(histories, k=7, explain=True)
    assert [answer["user"] for answer in answers] == list(range(1000))
    assert [item for answer in answers for item in answer["items"]] == frame["item"].tolist()
    assert np.concatenate([answer["scores"] for answer in answers]).tolist() == frame["score"].tolist()
    assert [reason for answer in answers for reason in answer["reasons"]] == frame["reason"].tolist()
    cold = [answer["cold"] for answer in answers]
    assert cold == [not history for history in histories]
    assert sum(cold) > 20


def test_pipes_and_gzip(command, trained, tmp_path, capsys, monkeypatch):
    user = max(trained.sequences, key=lambda u: len(trained.sequences[u]))
    line = json.dumps({"history": trained.sequences[user][:5], "user": user}).encode() + b"\n\n"
    with gzip.open(tmp_path / "h.jsonl.gz", "wb") as file:
        file.write(line)
    assert command("recommend", f"--input={tmp_path / 'h.jsonl.gz'}") == 0
    zipped = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(line))))
    assert command("recommend", "--input=-") == 0
    assert capsys.readouterr().out == zipped
    recommender = Recommender.load(trained.path, store=tmp_path / "other")
    expected = recommender.recommend([trained.sequences[user][:5]], users=[user])
    assert json.loads(zipped)["items"] == expected["item"].tolist()
    assert json.loads(zipped)["user"] == user


def test_answers_do_not_take_the_place_of_the_questions(command, tmp_path, capsys):
    source = write(tmp_path / "h.jsonl", [{"history": ["i1"]}])
    kept = (tmp_path / "h.jsonl").read_bytes()
    assert command("recommend", source, f"--output={tmp_path / '.' / 'h.jsonl'}") == 2
    assert "is the input" in capsys.readouterr().err
    assert (tmp_path / "h.jsonl").read_bytes() == kept


def test_remember_and_forget(command, trained, tmp_path, capsys):
    added = [
        {"history": ["i3", "i4", "i5"], "next_item": "new", "owner": "eve", "time": "2024-01-02"},
        {"history": ["i3", "i4"], "next_item": "new", "owner": "eve"},
        {"history": ["i7", "i8"], "next_item": "i1", "owner": None, "time": 5.5},
    ]
    assert command("remember", write(tmp_path / "a.jsonl", added)) == 0
    recommender = Recommender.load(trained.path, store=tmp_path / "cli.memory")
    assert "new" in recommender.recommend([["i3", "i4", "i5"]], k=20)["item"].tolist()
    assert command("forget", write(tmp_path / "f.jsonl", [{"owner": "eve"}, {"item": "i1"}])) == 0
    out = capsys.readouterr().out
    assert out.startswith("remembered 3\nforgot ")
    assert "new" not in recommender.recommend([["i3", "i4", "i5"]], k=20)["item"].tolist()
    assert command("remember", "--max_per_owner=1", write(tmp_path / "a.jsonl", added)) == 2
    assert "owner='eve'" in capsys.readouterr().err
    count = len(recommender.memory)
    assert command("remember", write(tmp_path / "a.jsonl", added)) == 0
    assert command("forget", write(tmp_path / "f.jsonl", [{"added_since": "2020-01-01"}])) == 0
    assert "forgot 3 memories" in capsys.readouterr().out
    recommender.memory.refresh()
    assert len(recommender.memory) == count


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("recommend", "{", "line 2"),
        ("recommend", "[1]", "not a JSON object"),
        ("recommend", '{"user": "a"}', "no history"),
        ("recommend", '{"history": "i1"}', "not a list"),
        ("recommend", '{"history": ["i1", NaN]}', "NaN"),
        ("recommend", '{"history": ["i1", null]}', "line 2"),
        ("recommend", '{"history": ["x9"]}', "line 2: history='x9'"),
        ("recommend", '{"history": ["i1"], "k": 3}', "unknown name 'k'"),
        ("recommend", '{"history": ["i1"], "user": [1]}', "line 2"),
        ("recommend", "[" * 100_000, "not JSON"),
        ("remember", '{"history": ["i1"]}', "no next_item"),
        ("remember", '{"history": ["i1"], "next_item": "i1", "time": "soon"}', "time"),
        ("remember", '{"history": ["i1"], "next_item": " "}', "line 2: next_item=' ': no name of a new item"),
        ("remember", '{"history": ["i1"], "next_item": null}', "line 2: next_item: NoneType is not a token"),
        ("remember", '{"history": ["i1"], "next_item": "\\ud800"}', "line 2: next_item="),
        ("remember", '{"history": ["x9"], "next_item": "i1"}', "line 2: history='x9'"),
        ("forget", '{"owner": 1.5}', "line 2: owner=1.5: float is not a token"),
        ("forget", '{"owner": null}', "line 2: forget: needs one of"),
        ("forget", '{"owner": ""}', "line 2: owner='': an empty token"),
        ("forget", '{"owner": "\\ud800"}', "not valid Unicode"),
        ("forget", '{"added_since": "soon"}', "line 2: added_since='soon'"),
        ("forget", "{}", "one of owner, item and added_since"),
        ("forget", '{"owner": "a", "item": "i1"}', "one of owner, item and added_since"),
    ],
)
def test_a_bad_line_is_named_and_changes_nothing(command, tmp_path, capsys, name, line, told):
    good = {
        "recommend": {"history": ["i1"]},
        "remember": {"history": ["i1"], "next_item": "i2"},
        "forget": {"owner": "u1"},
    }
    first = json.dumps(good[name])
    (tmp_path / "h.jsonl").write_text(f"{first}\n{line}\n")
    more = [f"--output={tmp_path / 'o.jsonl'}"] if name == "recommend" else []
    assert command(name, f"--input={tmp_path / 'h.jsonl'}", *more) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1
    assert told in captured.err
    assert not (tmp_path / "o.jsonl").exists()
    assert not (tmp_path / "cli.memory").exists()


def test_a_warning_names_the_line(command, tmp_path):
    source = write(tmp_path / "h.jsonl", [{"history": ["i1"]}] * 1100 + [{"history": ["i1", "x9"]}])
    with pytest.warns(UserWarning, match="line 1101: history: an unknown item, skipped"):
        assert command("recommend", source, f"--output={tmp_path / 'o.jsonl'}", "--on_unknown=warn") == 0


@pytest.mark.parametrize(
    "words",
    [["--input=nowhere.jsonl"], ["--k=0"], ["--k=1000000"], ["--k=two"], ["--on_unknown=skip"], ["--explain=maybe"]],
)
def test_bad_options_are_one_line(command, tmp_path, capsys, words):
    source = write(tmp_path / "h.jsonl", [{"history": ["i1"]}])
    given = words if words[0].startswith("--input") else [source, *words]
    assert command("recommend", *given) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
