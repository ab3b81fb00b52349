"""Several processes for one run: the share of each process, and their communication (torch.distributed).

Every process holds the data and the model. Each process takes a share of the rows of a training batch. The
gradients are summed, so a step equals the step of a single process, apart from the random numbers. But DuoRec's
contrastive term compares the views of each process's own share. Encoding, search and ranking are also
divided by rows. Without a process group there is one process, and these functions change nothing.
"""

from __future__ import annotations

import pickle
import socket
import tempfile
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from recbole_raserec.errors import ConfigError

T = TypeVar("T")
# The first process alone trains the regenerator, decodes, and waits for another run. The others wait for it meanwhile.
# torch would let them wait for half an hour (NCCL: ten minutes).
_PATIENCE = timedelta(days=7)


def rank() -> int:
    """Number of this process; the first is 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(rows: np.ndarray) -> np.ndarray:
    """This process's share: a consecutive part of ``rows``."""
    return np.array_split(rows, size())[rank()]


def gather(part: np.ndarray) -> np.ndarray:
    """The parts of all processes, concatenated in the order of the processes."""
    if size() == 1:
        return part
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, part)
    return np.concatenate(parts)


def by_share(work: Callable[[np.ndarray], np.ndarray], number: int) -> np.ndarray:
    """``work(rows)`` for all rows 0 .. number - 1. Each process computes its share."""
    return gather(work(share(np.arange(number))))


def from_first(make: Callable[[], T]) -> T:
    """The value that ``make`` returns in the first process. The other processes do not call it."""
    made: list[Any] = [make() if rank() == 0 else None]
    if size() > 1:
        dist.broadcast_object_list(made)
    return made[0]


def total(value: Tensor) -> Tensor:
    """The sum over the processes."""
    if size() > 1:
        dist.all_reduce(value)
    return value


def sum_gradients(parameters: Iterable[Tensor], sparse: Collection[Tensor] = ()) -> None:
    """Replace each gradient by its sum over the processes. A process without a gradient adds zero.

    ``sparse`` are those of the parameters whose gradients are sparse. All processes must name the same ones.
    """
    if size() == 1:
        return
    with_rows = set(map(id, sparse))
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if id(parameter) in with_rows:
            parameter.grad = _summed_rows(_no_rows(parameter) if parameter.grad is None else parameter.grad)
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def _no_rows(parameter: Tensor) -> Tensor:
    """A sparse gradient of zero."""
    indices = torch.zeros(1, 0, dtype=torch.long, device=parameter.device)
    return torch.sparse_coo_tensor(indices, parameter.new_zeros(0, *parameter.shape[1:]), parameter.shape)


def _summed_rows(gradient: Tensor) -> Tensor:
    """Sum over the processes of a sparse gradient, which holds only some rows."""
    gradient = gradient.coalesce()
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, (gradient.indices().cpu(), gradient.values().cpu()))
    indices, values = (torch.cat(column, dim=dim) for column, dim in zip(zip(*parts), (1, 0)))
    return torch.sparse_coo_tensor(indices, values, gradient.shape).coalesce().to(gradient.device)


class Place(NamedTuple):
    """The position of this machine's processes among all processes.

    Attributes
    ----------
    here : number of processes on this machine.
    offset : number of the first process on this machine.
    world_size : number of processes on all machines.
    address : ``tcp://HOST:PORT`` of the first process. Processes of one machine meet in a file of their own instead.
    """

    here: int
    offset: int
    world_size: int
    address: str


def place(nproc: int, world_size: int, group_offset: int, ip: str, port: str | int) -> Place:
    """The place that RecBole's parameters of these names describe. A ``world_size`` of -1 means ``nproc``."""
    return Place(nproc, group_offset, nproc if world_size == -1 else world_size, f"tcp://{ip}:{port}")


def check_port(place: Place) -> None:
    """Raise ConfigError if other machines are to find the first process here, and it cannot listen."""
    port = place.address.rpartition(":")[2]
    if place.offset or place.here == place.world_size:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch does
        try:
            probe.bind(("", int(port)))
        except (OSError, OverflowError, ValueError) as error:
            problem = f"the processes cannot meet there ({error})"
            raise ConfigError("port", port, problem, "give another, for example --port=5679") from error


def run_together(work: Callable[..., Any], arguments: tuple[Any, ...], place: Place, failure: type[Exception]) -> Any:
    """Call ``work(*arguments)`` in several processes of this machine. They divide its threads among them.

    Returns
    -------
    The value that ``work`` returns in process 0; None on the other machines.

    Raises
    ------
    failure : a process raised it.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        threads = max(torch.get_num_threads() // place.here, 1)
        try:
            _spawn((place, threads, work, arguments, failure, answer), place.here)
        except (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException):
            if not answer.is_file():
                raise
        outcome = pickle.loads(answer.read_bytes()) if answer.is_file() else None
    if isinstance(outcome, failure):
        raise outcome
    return outcome


def _spawn(arguments: tuple[Any, ...], number: int) -> None:
    """Run :func:`_process` in processes that end with this one. They do not get its SIGTERM themselves."""
    context = torch.multiprocessing.spawn(_process, arguments, nprocs=number, join=False)
    try:
        while not context.join():
            pass
    except BaseException:
        for process in context.processes:
            process.terminate()
        for process in context.processes:
            process.join()
        raise


def _process(
    local: int,
    place: Place,
    threads: int,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
    failure: type[Exception],
    answer: Path,
) -> None:
    """Process number ``local`` of this machine. The first process's result, or a failure, is written to ``answer``."""
    torch.set_num_threads(threads)
    join(place, local, answer.with_name("meeting"))
    try:
        outcome = work(*arguments)
    except failure as error:
        answer.write_bytes(pickle.dumps(error))
        raise
    if rank() == 0:
        answer.write_bytes(pickle.dumps(outcome))
    leave()


def join(place: Place, local: int, meeting: Path) -> None:
    """Become process ``local`` of this machine. If no other takes part, the processes meet in the file ``meeting``."""
    number = place.offset + local
    if place.here == place.world_size:  # no other run has this file, as another may have the port
        store: dist.Store = dist.FileStore(str(meeting), place.world_size)
    else:
        host, _, port = place.address.removeprefix("tcp://").rpartition(":")
        store = dist.TCPStore(host, int(port), place.world_size, number == 0)  # waits for half an hour
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, rank=number, world_size=place.world_size, timeout=_PATIENCE, store=store)


def leave() -> None:
    """Wait for the other processes and end the group."""
    dist.barrier()
    dist.destroy_process_group()
