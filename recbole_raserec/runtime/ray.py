"""Ray: connect to a cluster, and map a function over parts on its workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.progress import Progress
from recbole_raserec.runtime.signals import keeping_sigterm

_RETRIES = 3  # of a task whose worker was lost


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect Ray to ``address`` for the block: "local" starts Ray on this machine, "auto" finds a cluster.

    An existing connection is used and is kept after the block. With None the block runs without Ray.

    Raises
    ------
    ConfigError : there is no cluster at ``address``.
    """
    if address is None:
        yield
        return
    with keeping_sigterm():
        import ray  # imported here, because it takes a second and most runs do not need it

        mine = not ray.is_initialized()
        if mine:
            try:
                ray.init(address=address, include_dashboard=False if address == "local" else None, log_to_driver=False)
            except (ConnectionError, ValueError) as error:
                mend = "start one with `ray start --head`, or give --ray_address=local"
                raise ConfigError("ray_address", address, f"no Ray cluster answers ({error})", mend) from error
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


def map_on_ray(
    address: str,
    work: Callable[[Any, Any], Any],
    shared: Any,
    parts: Sequence[Any],
    on_gpu: bool = False,
    progress: Progress = iter,
) -> Iterable[Any]:
    """``work(shared, part)`` for each part, in order, computed by Ray's workers.

    A worker uses as many threads as this process, because sums of floats depend on the number of threads.
    If a worker is lost, its task is run again, at most three times.

    Parameters
    ----------
    address : "local" starts Ray on this machine, "auto" finds the running cluster; otherwise a cluster's address.
    work : a function that can be pickled.
    shared : the data that every part needs, on the CPU. It is sent to each machine once.
    on_gpu : whether a task needs a GPU.

    Raises
    ------
    ConfigError : there is no cluster at ``address``.
    """
    with connected(address):
        import ray

        threads = torch.get_num_threads()
        task: Any = ray.remote(num_cpus=threads, num_gpus=int(on_gpu), max_retries=_RETRIES)(_work_with_threads)
        at = ray.put(shared)
        for pending in progress([task.remote(at, part, work, threads) for part in parts]):
            yield ray.get(pending)


def _work_with_threads(shared: Any, part: Any, work: Callable[[Any, Any], Any], threads: int) -> Any:
    torch.set_num_threads(threads)
    return work(shared, part)
