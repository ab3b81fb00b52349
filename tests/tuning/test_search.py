from __future__ import annotations

import csv
import importlib.util
import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from recbole_raserec import run
from recbole_raserec.cli import main
from recbole_raserec.errors import DataError
from recbole_raserec.runtime.files import only_writer
from recbole_raserec.tuning.trial import Sources

SMALL = "--epochs=2 --finetune_epochs=3 --hidden_size=16 --inner_size=32 --show_progress=False"
TUNE = (
    f"tune --model=RaSeRec --dataset=tiny --data_path=dataset --params_file=space.yaml --num_samples=4 --seed=3 {SMALL}"
)
# Dies without warning as soon as the second trial is on disk.
KILLED = """
import os, signal, sys
from recbole_raserec.cli import main
from recbole_raserec.tuning.ledger import Ledger
write = Ledger.write
def writes(self, *trial):
    write(self, *trial)
    if len(list(self.folder.glob("*.json"))) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Ledger.write = writes
main(sys.argv[1:])
"""


# Says when a trial has reported.
TOLD = """
from recbole_raserec.cli import script
from recbole_raserec.tuning.ledger import Ledger
callback = Ledger.callback
def told(self, as_run):
    found = callback(self, as_run)
    found.on_trial_result = lambda *_, **__: print("a trial runs", flush=True)
    return found
Ledger.callback = told
script()
"""


@pytest.fixture
def space(tiny_data: Path) -> Path:
    path = tiny_data.parent / "space.yaml"
    path.write_text("alpha: {uniform: [0.1, 0.9]}\nattn_tau: {loguniform: [0.1, 2]}\ntop_k: {choice: [3, 5, 9]}\n")
    return path


@pytest.mark.slow
def test_a_killed_search_goes_on_and_its_best_is_what_run_gives(space, own_folder, capsys):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *TUNE.split(), "--output=out"], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    ended = {path.name: path.stat().st_mtime_ns for path in Path("out/ended").glob("*.json")}
    backbone = {path.name: path.stat().st_mtime_ns for path in Path("out/checkpoints").glob("*pretrain*")}
    assert len(ended) == 2
    assert backbone

    assert main([*TUNE.split(), "--output=out"]) == 2
    assert "--resume=True" in capsys.readouterr().err
    assert main([*TUNE.split(), "--output=out", "--resume=True"]) == 0
    assert main([*TUNE.split(), "--output=whole"]) == 0

    for path, written in [(Path("out/ended") / name, when) for name, when in ended.items()]:
        assert path.stat().st_mtime_ns == written
    for name, written in backbone.items():
        assert (Path("out/checkpoints") / name).stat().st_mtime_ns == written
    trials, whole = (json.loads(Path(folder, "trials.json").read_text()) for folder in ("out", "whole"))
    assert [(t["point"], t["score"], t["valid"]) for t in trials] == [
        (t["point"], t["score"], t["valid"]) for t in whole
    ]
    assert len(trials) == 4
    assert all(trial["status"] == "finished" for trial in trials)
    assert [t["score"] for t in trials] == sorted((t["score"] for t in trials), reverse=True)
    assert len({trial["backbone"] for trial in trials}) == 1
    with open("out/trials.csv", newline="") as file:
        assert [float(row["alpha"]) for row in csv.DictReader(file)] == [t["point"]["alpha"] for t in trials]

    best = yaml.safe_load(Path("out/best.yaml").read_text())
    assert best["alpha"] == trials[0]["point"]["alpha"]
    result = run(None, config_file_list=["out/best.yaml"])
    assert result["raserec"]["valid"] == trials[0]["valid"]


def test_a_grid_goes_on_after_a_failure_and_tells_it(tiny_data, own_folder, capsys):
    Path("space.yaml").write_text("learning_rate: {choice: [0.01, 1.0e+30]}\n")
    grid = TUNE.replace("--num_samples=4", "--num_samples=1 --search=grid").split()
    assert main(grid) == 0
    trials = json.loads(Path("tune/trials.json").read_text())
    assert [trial["status"] for trial in trials] == ["finished", "failed"]
    assert "make it smaller" in trials[1]["error"]
    assert "make it smaller" in capsys.readouterr().out
    assert yaml.safe_load(Path("tune/best.yaml").read_text())["data_path"] == "dataset", "as it was given"

    assert main([*grid, "--resume=True", "--alpha=0.3"]) == 2
    assert "other parameters than this search" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_a_search_with_its_code_and_without_a_best(space, own_folder):
    words = TUNE.replace("--finetune_epochs=3", "--finetune_epochs=100000 --finetune_stopping_step=100000").split()
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "preexec_fn": heed}
    with subprocess.Popen([sys.executable, "-c", TOLD, *words], **more) as searching:
        try:
            assert any(line.startswith("a trial runs") for line in searching.stdout), "it ended before a trial ran"
            searching.send_signal(signal.SIGINT)
            error = searching.stdout.read()
            searching.wait(120)
        finally:
            searching.kill()
    assert searching.returncode == 130, error[-2000:]
    assert "--resume=True" in error
    assert not Path("tune/best.yaml").exists()


@pytest.fixture
def no_search(tiny_data, own_folder, monkeypatch):
    """Ends a search before it loads its data."""

    def stops(config):
        raise DataError("dataset", "tiny", "the search would begin", "nothing")

    monkeypatch.setattr("recbole_raserec.tuning.search.load_dataset", stops)


def test_what_changes_nothing_in_any_trial_is_told_before_the_search(no_search, caplog):
    Path("space.yaml").write_text(
        "beta: {uniform: [0.1, 0.9]}\nmixture_tau: {choice: [0.1, 0.2]}\nmixture_weight: {choice: [0, 0.3]}\n"
        "index_factory: {choice: ['Flat', 'IVF4,Flat']}\n"
    )
    assert main([*TUNE.split(), "--alpha=1", "--index_nprobe=2", "--decode_gamma=0.5"]) == 2
    said = [record.getMessage() for record in caplog.records if "changes nothing" in record.getMessage()]
    assert [line.split()[0] for line in said] == ["beta", "decode_gamma"]
    assert said[0].endswith("alpha=1 leaves the user vector as it is")


def test_a_space_of_very_many_combinations_is_not_looked_through(no_search, caplog):
    lines = [f"{name}: {{choice: {[n / 50 for n in range(1, 50)]}}}" for name in ("beta", "attn_tau", "mixture_tau")]
    Path("space.yaml").write_text("\n".join(lines) + "\n")
    assert main([*TUNE.split(), "--alpha=1"]) == 2
    assert "changes nothing" not in caplog.text


def test_a_trial_uses_the_gpus_that_ray_gave_it():
    given = Sources("RaSeRec", "tiny", (), {"seed": 3}, ("--gpu_id=0,1,2,3", "--top_k=7"))
    assert given.on_gpus("2").config({})["gpu_id"] == "2"
    assert given.on_gpus("2").config({"alpha": 0.3})["top_k"] == 7
    assert given.on_gpus("1,3").config({})["gpu_id"] == "1,3"
    assert given.on_gpus(None) is given.on_gpus("") is given


def test_a_second_search_does_not_mix_with_a_running_one(space, own_folder, capsys):
    with only_writer(Path("tune/trials"), wait=False):
        assert main(TUNE.split()) == 2
    assert "output='tune': another run is writing trials there" in capsys.readouterr().err
    assert not Path("tune/ended").exists()


@pytest.mark.slow
@pytest.mark.parametrize("more", ["--search=optuna", "--scheduler=asha", "--search=optuna --scheduler=asha"])
def test_optuna_and_asha_end_with_a_best_trial(more, space, own_folder):
    assert main([*TUNE.split(), *more.split()]) == 0
    trials = json.loads(Path("tune/trials.json").read_text())
    assert len(trials) == 4
    assert {trial["status"] for trial in trials} <= {"finished", "stopped early"}
    assert trials[0]["score"] == max(trial["score"] for trial in trials)
    assert Path("tune/best.yaml").is_file()


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("alpah: {uniform: [0, 1]}", "", "did you mean 'alpha'"),
        ("alpha: {uniform: [0, 2]}", "", "must lie in [0, 1]"),
        ("topk: {choice: [[5], [10]]}", "", "which all trials share"),
        ("split: {choice: [leave_one_out, time]}", "", "which all trials share"),
        ("alpha: {uniform: [0, 1]}", "--alpha=0.5", "is in the params_file too"),
        ("alpha: {uniform: [0, 1]}", "--search=grid", "a grid needs choices"),
        ("alpha: {uniform: [0, 1]}", "--scheduler=asah", "not an allowed value"),
        ("alpha: {uniform: [0, 1]}", "--resources_per_trial=cpu", "name=amount"),
        ("alpha: {uniform: [0, 1]}", "--resources_per_trial=cpu=nan", "not an amount"),
        ("alpha: {uniform: [0, 1]}", "--resources_per_trial=cpu=-1", "not an amount"),
        ("top_k: {uniform: [5, 20]}", "", "write top_k: {randint"),
        ("top_k: {quniform: [5, 20, 2.5]}", "", "write top_k: {randint"),
        ("alpha: {uniform: [0, 1]}", "--result_file=r.json", "a search writes to --output"),
        ("alpha: {uniform: [0, 1]}", "--nproc=2", "a trial has one process"),
    ],
)
def test_a_wrong_search_is_refused_before_any_work(text, more, says, tiny_data, own_folder, capsys):
    Path("space.yaml").write_text(text)
    assert main([*TUNE.split(), *more.split()]) == 2
    assert says in capsys.readouterr().err
    assert not (own_folder / "tune").exists()


def test_a_search_without_trials_is_refused(space, own_folder, capsys):
    assert main(TUNE.replace("--num_samples=4", "--num_samples=0").split()) == 2
    assert "no trial would run" in capsys.readouterr().err
    assert not (own_folder / "tune").exists()


def test_a_search_by_optuna_without_optuna_says_what_to_install(space, own_folder, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "optuna" else find(name, *more)
    )
    assert main([*TUNE.split(), "--search=optuna"]) == 2
    assert "pip install optuna" in capsys.readouterr().err
    assert not (own_folder / "tune").exists()


@pytest.mark.slow
@pytest.mark.parametrize("space", ["top_k: {choice: [3, 5]}", "memory: {choice: [pairs, 'pairs,patterns']}"])
def test_trials_on_generated_rows_share_the_backbone_and_the_best_is_what_run_gives(tiny_data, own_folder, space):
    Path("space.yaml").write_text(space + "\n")
    grid = TUNE.replace("--num_samples=4", "--num_samples=1 --search=grid").split()
    assert main([*grid, "--regenerate=DR4SR", "--regenerate_parts=original,patterns"]) == 0
    trials = json.loads(Path("tune/trials.json").read_text())
    assert [trial["status"] for trial in trials] == ["finished", "finished"]
    assert trials[0]["point"] != trials[1]["point"]
    assert trials[0]["backbone"] == trials[1]["backbone"]
    assert len(list(Path("tune/checkpoints").glob("*pretrain*.last.pth"))) == 1
    assert run(None, config_file_list=["tune/best.yaml"])["raserec"]["valid"] == trials[0]["valid"]
