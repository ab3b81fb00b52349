from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from recbole_raserec.runtime.ray import connected
from recbole_raserec.runtime.signals import stopping_at_sigterm
from recbole_raserec.tuning.space import Dimension

RAY = """
import signal

signal.signal(signal.SIGTERM, lambda *_: None)


def is_initialized():
    return False


def init(**_):
    signal.signal(signal.SIGTERM, lambda *_: None)


def shutdown():
    pass
"""
TOGETHER = """
import os, signal
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.signals import stopping_at_sigterm


def work():
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece: the other one writes too
    signal.pause()


if __name__ == "__main__":
    with stopping_at_sigterm():
        processes.run_together(work, (), processes.place(2, -1, 0, "", 0), ValueError)
"""


@pytest.fixture
def other_ray(tmp_path, monkeypatch):
    """A package ``ray`` that sets a handler where Ray does: when it is imported, and when it starts."""
    (tmp_path / "ray" / "tune").mkdir(parents=True)
    (tmp_path / "ray" / "__init__.py").write_text(RAY)
    (tmp_path / "ray" / "tune" / "__init__.py").write_text("choice = list\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        del sys.modules[name]


def test_ray_does_not_replace_the_answer_to_sigterm(other_ray):
    with stopping_at_sigterm():
        ours = signal.getsignal(signal.SIGTERM)
        assert Dimension("top_k", "choice", (1, 2)).domain(grid=False) == [1, 2]
        assert signal.getsignal(signal.SIGTERM) is ours
        with connected("local"):
            assert signal.getsignal(signal.SIGTERM) is ours


@pytest.mark.slow
def test_the_processes_of_a_run_end_with_it(tmp_path):
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        numbers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(signal.SIGTERM)
        try:
            assert parent.wait(60) == 1  # the script does not catch Terminated
        finally:
            parent.kill()
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
