"""How long a thread spins when it waits for the others of its process."""

from __future__ import annotations

import os

_SPINS = "3000"  # docs/tried.md has the times of other numbers


def spin_briefly() -> None:
    """Let waiting threads sleep soon, unless the environment says how they wait. It is to be called before torch loads.

    GNU OpenMP, which torch uses on Linux, spins 300,000 rounds (``GOMP_SPINCOUNT``). Beside a busy program, the thread
    that is waited for gets no core as long as the waiting one spins: an epoch of seconds takes minutes.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = _SPINS
