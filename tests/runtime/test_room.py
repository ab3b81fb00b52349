"""A run that does not fit into memory ends with one error, before the first epoch where that is known."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from recbole_raserec import ConfigError, run
from recbole_raserec.runtime import room

SMALL = {"hidden_size": 16, "inner_size": 16, "epochs": 1, "finetune_epochs": 1, "show_progress": False}
TOO_LARGE = """
import resource, sys, torch
from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.progress import timed
torch.ones(2) @ torch.ones(2)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))  # 64 MiB more
with timed({}, "pretrain"):
    torch.ones(10**9)
"""


def write(folder, **texts):
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")


def test_a_containers_limit_counts_and_its_cache_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_of_machine", lambda: 10**6)
    monkeypatch.setattr(room, "_GROUP", tmp_path)
    assert room.free_mib() == 10**6  # there is no limit
    old = {"limit_in_bytes": 80 * 2**20, "usage_in_bytes": 48 * 2**20}
    write(tmp_path / "memory", **old, stat=f"inactive_file 1\ntotal_inactive_file {16 * 2**20}")
    assert room.free_mib() == 48
    write(tmp_path, max=64 * 2**20, current=48 * 2**20, stat=f"anon 5\ninactive_file {16 * 2**20}")
    assert room.free_mib() == 32


def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_of_machine", lambda: 10**6)
    monkeypatch.setattr(room, "_GROUP", tmp_path)
    write(tmp_path, max="max", current=48 * 2**20, stat="inactive_file 0")
    assert room.free_mib() == 10**6


@pytest.mark.parametrize(
    ("given", "blamed"),
    [
        ({"top_k": 1}, "hidden_size=16"),
        ({"top_k": 10**6}, "top_k=1000000"),
        ({"mixture_top_k": 10**6, "mixture_weight": [0.2]}, "mixture_top_k=1000000"),
    ],
)
def test_too_little_memory_is_an_error_before_the_first_epoch(given, blamed, tiny_data, own_folder, monkeypatch):
    monkeypatch.setattr(room, "free_mib", lambda device: 0.1)
    with pytest.raises(ConfigError, match=rf"{blamed}: a run needs at least [\d,]+ MiB of memory, and 0 are free"):
        run("RaSeRec", "tiny", config_dict={**SMALL, "data_path": str(tiny_data), **given})
    assert not list((own_folder / "saved").glob("*.pth"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torchs_error_names_the_stage_and_the_mend():
    done = subprocess.run([sys.executable, "-c", TOO_LARGE], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ConfigError: train_batch_size: pretrain is out of memory (" in last
    assert "make it smaller" in last


def test_a_model_that_is_too_large_is_an_error_too(tiny_data, own_folder):
    with pytest.raises(ConfigError, match="hidden_size: model is out of memory"):
        run("RaSeRec", "tiny", config_dict={**SMALL, "data_path": str(tiny_data), "hidden_size": 10**12})


@pytest.mark.parametrize("error", [MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate")])
def test_pythons_and_the_gpus_errors_too(error):
    with pytest.raises(ConfigError, match="eval_batch_size: evaluate is out of memory"), room.out_of_memory("evaluate"):
        raise error


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="sizes differ"), room.out_of_memory("evaluate"):
        raise RuntimeError("sizes differ")
