"""Decoding on Ray: whole blocks are sent out, so the rows are those of one process, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.regeneration.decoding import BlockDecoder, decode_block
from recbole_raserec.regeneration.regenerator import Regenerator
from recbole_raserec.runtime.ray import connected

_BLOCKS_A_TASK = 8
_RETRIES = 3  # of a task whose worker was lost


def ray_decoder(
    address: str,
    model: Regenerator,
    sequences: Sequences,
    gamma: float,
    seed: int,
    max_tokens: int,
    device: torch.device,
    decode: Callable[..., np.ndarray] = decode_block,
) -> BlockDecoder:
    """As :func:`~recbole_raserec.regeneration.decoding.local_decoder`, on the workers of a Ray cluster.

    A worker uses as many threads as this process does, since sums of floats depend on their number.
    A task whose worker is lost is run again, three times at most.

    Parameters
    ----------
    address : "local" starts Ray on this machine, "auto" finds the running cluster, else its address.
    decode : what a task calls for each block.

    Raises
    ------
    ConfigError : there is no cluster at ``address``.
    """

    def decode_blocks(blocks: list[np.ndarray]) -> Iterable[np.ndarray]:
        with connected(address):
            import ray

            threads = torch.get_num_threads()
            shared = ray.put((copy.deepcopy(model).cpu(), sequences))
            task = ray.remote(num_cpus=threads, num_gpus=int(device.type == "cuda"), max_retries=_RETRIES)(_decode_task)
            parts = [blocks[start : start + _BLOCKS_A_TASK] for start in range(0, len(blocks), _BLOCKS_A_TASK)]
            settings = (gamma, seed, max_tokens, device)
            for pending in [task.remote(shared, part, settings, threads, decode) for part in parts]:
                yield from ray.get(pending)

    return decode_blocks


def _decode_task(
    shared: tuple[Regenerator, Sequences],
    blocks: list[np.ndarray],
    settings: tuple[float, int, int, torch.device],
    threads: int,
    decode: Callable[..., np.ndarray],
) -> list[np.ndarray]:
    torch.set_num_threads(threads)
    model, sequences = shared
    device = settings[-1]
    return [decode(model.to(device), sequences, rows, *settings) for rows in blocks]
