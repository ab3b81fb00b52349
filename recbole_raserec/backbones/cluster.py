"""Encoding of many prefixes on Ray: each task takes consecutive rows."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.data.sequences import Prefixes
from recbole_raserec.runtime.progress import Progress
from recbole_raserec.runtime.ray import connected

_ROWS_A_TASK = 2**17
_RETRIES = 3  # of a task whose worker was lost


def encode_on_ray(
    address: str,
    backbone: nn.Module,
    prefixes: Prefixes,
    max_length: int,
    device: torch.device,
    progress: Progress = iter,
    rows_a_task: int = _ROWS_A_TASK,
) -> np.ndarray:
    """[R, D] as :func:`~recbole_raserec.backbones.encode.encode_prefixes`, but for the order of sums.

    A task whose worker is lost is run again, three times at most.

    Parameters
    ----------
    address : "local" starts Ray on this machine, "auto" finds the running cluster, else its address.

    Raises
    ------
    ConfigError : there is no cluster at ``address``.
    """
    with connected(address):
        import ray

        threads = torch.get_num_threads()
        shared = ray.put((copy.deepcopy(backbone).cpu(), prefixes))
        task = ray.remote(num_cpus=threads, num_gpus=int(device.type == "cuda"), max_retries=_RETRIES)(_encode_task)
        bounds = [*range(0, len(prefixes), rows_a_task), len(prefixes)]
        pending = [task.remote(shared, *ends, max_length, device, threads) for ends in zip(bounds, bounds[1:])]
        return np.concatenate([ray.get(part) for part in progress(pending)])


def _encode_task(
    shared: tuple[nn.Module, Prefixes], start: int, stop: int, max_length: int, device: torch.device, threads: int
) -> np.ndarray:
    torch.set_num_threads(threads)
    backbone, prefixes = shared
    part = Prefixes(prefixes.sequences, prefixes.sequence[start:stop], prefixes.target_at[start:stop])
    return encode_prefixes(backbone.to(device), part, max_length, device)
