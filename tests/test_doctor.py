"""What one runs when nothing else runs; each case in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import recbole_raserec
from recbole_raserec.doctor import PACKAGES, doctor

SOURCE = Path(recbole_raserec.__file__).parent.parent


@pytest.fixture
def bare(tmp_path):
    """An environment with nothing installed; ``install`` puts a package into it that imports as it is told to."""
    folder = tmp_path / "bare"
    venv.create(folder)
    site = next(folder.glob("lib/python*/site-packages"))

    def install(name: str, version: str, module: str, code: str = "") -> None:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (site / module).mkdir()
        (site / module / "__init__.py").write_text(code)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        program = [str(folder / "bin" / "python"), "-c", "from recbole_raserec.cli import script; script()", *words]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        return subprocess.run(program, env=environment, capture_output=True, text=True, cwd=tmp_path)

    return install, run


def test_without_recbole_with_numpy_2_and_a_broken_faiss(bare):
    install, run = bare
    install("numpy", "2.4.6", "numpy")
    install("faiss-cpu", "1.15.1", "faiss", "raise ImportError('libfaiss.so: undefined symbol')")
    done = run("doctor")
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert "recbole is not installed\n  run: pip install --no-deps 'recbole>=1.2.1,<1.3'" in done.stdout
    assert "undefined symbol" in done.stdout
    assert "run: pip install --force-reinstall --no-deps faiss-cpu" in done.stdout
    assert "pip install 'ray[tune]>=2.43'" in done.stdout
    assert "numpy is not installed" not in done.stdout


def test_a_package_that_kills_the_process_does_not_kill_the_doctor(bare):
    install, run = bare
    install("faiss-cpu", "1.15.1", "faiss", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    done = run("doctor", "--json")
    assert done.returncode == 2
    problems = {problem["what"]: problem["mend"] for problem in json.loads(done.stdout)["problems"]}
    assert problems["faiss-cpu 1.15.1 cannot be imported (killed by signal 11)"].endswith("faiss-cpu")


def test_what_recbole_and_ray_themselves_need_is_named(bare):
    install, run = bare
    install("recbole", "1.2.1", "recbole", "import colorlog")
    install("ray", "2.6.3", "ray", "import pkg_resources")
    told = run("doctor").stdout
    assert "pip install colorlog" in told
    assert "pip install 'setuptools<81'" in told


def test_the_first_command_without_recbole_is_one_line_that_says_what_to_run(bare):
    install, run = bare
    install("numpy", "2.4.6", "numpy")
    done = run("run", "--model=RaSeRec", "--dataset=ml-100k")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is not installed. run: pip install" in done.stderr


def test_all_is_well_here(capsys, monkeypatch):
    monkeypatch.setattr("recbole_raserec.doctor._FREE_MIB", {"disk": 0, "memory": 0})  # other tests use both
    assert doctor(as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["facts"]["executable"] == sys.executable


def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch, capsys, own_folder):
    def full(**kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recbole_raserec.doctor.tempfile.TemporaryFile", full)
    monkeypatch.setattr("recbole_raserec.doctor.PACKAGES", {"tqdm": PACKAGES["tqdm"]})  # the others take seconds
    monkeypatch.setattr("recbole_raserec.doctor._stack", lambda report: None)
    assert doctor() == 2
    assert "cannot be written to (No space left on device)" in capsys.readouterr().out
