from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from recbole_raserec import __version__
from recbole_raserec.runtime.machine import machine, peak_rss_mib, versions

PEAKS = """
import numpy as np
from recbole_raserec.runtime.machine import peak_rss_mib
before = peak_rss_mib()
np.ones(2**25)  # 256 MiB, and gone
print(before, peak_rss_mib())
"""


@pytest.mark.slow
def test_a_peak_is_the_largest_of_the_process_alone():
    held = np.ones(2**27)  # 1 GiB, which the process below does not have
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before < held.nbytes / 2**20
    assert 200 < after - before < 300


GROWN = """
import sys
import numpy as np
from recbole_raserec.runtime.machine import HeapGrowth, resident_mib
heap = HeapGrowth()
check = getattr(heap, sys.argv[1])
check()
for pieces in map(int, sys.argv[2:]):  # of 1/16 MiB, which the C library takes from its heap
    blocks = [np.ones(8000) for _ in range(pieces)]
    del blocks[:-1]  # the last one keeps the heap from shrinking
    before = resident_mib()
    check()
    print(before - resident_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
@pytest.mark.parametrize("words", [["after_epoch", "1000", "6400"], ["after_step", "11000", "14000"]])
def test_freed_memory_goes_back_to_the_system_after_a_growth(words):
    done = subprocess.run([sys.executable, "-c", GROWN, *words], capture_output=True, text=True, check=True)
    little, much = map(float, done.stdout.split())
    assert little < 10
    assert much > 300


def test_the_machine_names_its_device_and_threads():
    assert machine("cuda:0")["device"] == "cuda:0"
    assert machine("cpu")["threads"] == torch.get_num_threads()


def test_versions_are_those_that_run():
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["recbole-raserec"] == __version__
    assert found["recbole"] == "1.2.1"


def test_a_system_that_does_not_tell_the_peak_ends_no_run(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmSize:\t100 kB\nVmRSS:\t50 kB\n")
    monkeypatch.setattr("recbole_raserec.runtime.machine._STATUS", status)
    assert peak_rss_mib() > 1
