"""benchmarks/reproduce.py: the runs that it starts, and their data."""

from __future__ import annotations

import hashlib
import re
import subprocess

import pytest

from benchmarks import reproduce

NAMES = ["amazon-beauty-sasrec", "amazon-beauty-sasrec-full"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A replacement for amazon-beauty that is accepted as the table's data."""
    path = tmp_path / "dataset" / "amazon-beauty" / "amazon-beauty.inter"
    path.parent.mkdir(parents=True)
    path.write_text("user_id:token\titem_id:token\n")
    ours = reproduce.DATA["amazon-beauty"]._replace(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(reproduce.DATA, "amazon-beauty", ours)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "results").mkdir()
    return tmp_path


@pytest.fixture
def own(folder, monkeypatch):
    """The same for groceries."""
    path = folder / "dataset" / "groceries" / "groceries.inter"
    path.parent.mkdir()
    path.write_text("user_id:token\titem_id:token\n")
    ours = reproduce.OWN_DATA["groceries"]._replace(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(reproduce.OWN_DATA, "groceries", ours)
    return folder


@pytest.fixture
def started(monkeypatch):
    """Arguments and environment of every process that would be started. A process ends with the code of its seed."""
    processes = []

    def start(words, env, check):
        processes.append((words, env))
        return subprocess.CompletedProcess(words, int("--seed=2" in words))

    monkeypatch.setattr(subprocess, "run", start)
    return processes


def reproduce_runs(folder, names=NAMES, seeds="1,2"):
    """The exit code or last words of the command."""
    options = (f"--runs={','.join(names)}", f"--seeds={seeds}", f"--data_path={folder / 'dataset'}")
    with pytest.raises(SystemExit) as ended:
        reproduce.main([*options, f"--output={folder / 'results'}"])
    return ended.value.code


def test_runs_what_has_no_file_on_one_thread_each(folder, started):
    (folder / "results" / "amazon-beauty-sasrec-1.json").write_text("{}")
    assert reproduce_runs(folder) == 1, "a run of seed 2 failed"
    words = [" ".join(words) for words, _ in started]
    assert sorted(re.search(r"results/(amazon\S+)", word)[1] for word in words) == [
        "amazon-beauty-sasrec-2.json",
        "amazon-beauty-sasrec-full-1.json",
        "amazon-beauty-sasrec-full-2.json",
    ]
    assert all(("--preset=full" in word) == ("-full-" in word) and "--resume=True" in word for word in words)
    assert {env["OMP_NUM_THREADS"] for _, env in started} == {"1"}


def test_files_of_the_table_name_no_folder_of_the_machine(folder, started, monkeypatch):
    monkeypatch.chdir(reproduce.HERE.parent)
    with pytest.raises(SystemExit):
        reproduce.main(["--runs=amazon-beauty-sasrec", "--seeds=9", f"--data_path={folder / 'dataset'}"])
    assert "--result_file=benchmarks/results/amazon-beauty-sasrec-9.json" in started[0][0]


def test_code_is_0_where_all_runs_end_well(folder, started):
    assert reproduce_runs(folder, seeds="1") == 0
    assert len(started) == len(NAMES)


def test_interrupted_says_how_to_go_on(folder, monkeypatch, capsys):
    def interrupt(words, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupt)
    assert reproduce_runs(folder) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_a_run_that_waits_for_another_does_not_begin_after_an_interruption(folder, monkeypatch):
    begun = []

    def interrupted(words, **_):
        begun.append(words)
        return subprocess.CompletedProcess(words, 130)

    monkeypatch.setattr(subprocess, "run", interrupted)
    assert reproduce_runs(folder, seeds="1") == 1
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [(None, "amazon-beauty.inter is missing"), ("user_id:token\n", "has SHA-256 .*, the table's data have ")],
)
def test_other_data_are_refused_before_any_run(folder, started, text, fault):
    path = folder / "dataset" / "amazon-beauty" / "amazon-beauty.inter"
    path.unlink()
    if text:
        path.write_text(text)
    assert re.search(fault, reproduce_runs(folder))
    assert not started


def test_finished_runs_need_no_data(folder, started):
    (folder / "results" / "amazon-toys-sasrec-1.json").write_text("{}")
    assert reproduce_runs(folder, ["amazon-toys-sasrec"], "1") == 0
    assert not started


def test_unknown_run_is_named(folder, started):
    assert "--runs=amazon-beuty: use some of headline, " in reproduce_runs(folder, ["amazon-beuty"])


def test_data_of_others_have_runs_of_their_own(own, started, capsys):
    assert not set(reproduce.OWN) & set(reproduce.ALL), "whoever runs all does not have them"
    assert reproduce_runs(own, ["own/groceries"], seeds="1") == 0
    assert "--user_inter_num_interval=[5,inf)" in started[0][0]
    assert "'--user_inter_num_interval=[5,inf)'" in capsys.readouterr().out, "the printed command can be pasted"
    assert "convert --input=ratings.csv --user=userId" in reproduce_runs(own, ["own/ml-small"])


def test_another_place_for_the_results_has_checkpoints_of_its_own(folder, started, monkeypatch):
    reproduce_runs(folder, NAMES[:1], "1")
    assert f"--checkpoint_dir={folder / 'results' / 'saved'}" in started[0][0]
    monkeypatch.setattr(reproduce, "OUTPUT", str(folder / "results"))
    reproduce_runs(folder, NAMES[:1], "3")
    assert not [word for word in started[1][0] if word.startswith("--checkpoint_dir")]
