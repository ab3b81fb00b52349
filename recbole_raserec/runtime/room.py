"""Memory: how much is free, and one error instead of a killed process or a traceback when it does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recbole_raserec.errors import ConfigError

_GROUP = Path("/sys/fs/cgroup")  # of a container: its limit may be below what the machine has
_SMALLER = {
    "model": "hidden_size", "pretrain": "train_batch_size", "memory": "hidden_size", "finetune": "finetune_batch_size",
    "evaluate": "eval_batch_size", "drift": "eval_batch_size", "regenerator": "regenerator_batch_size",
}  # fmt: skip


def free_mib(device: str = "cpu") -> float | None:
    """Free memory in MiB of the device ("cpu", "cuda:0"); None where the system does not tell."""
    if device.startswith("cuda"):
        import torch  # here, because doctor runs without it

        return torch.cuda.mem_get_info(device)[0] / 2**20
    free = [mib for mib in (_of_machine(), _of_container()) if mib is not None]
    return min(free, default=None)


def check_free(need_mib: float, device: str, field: str, value: object) -> None:
    """Raise ConfigError if less than ``need_mib`` MiB are free. ``field`` is the parameter to make smaller."""
    free = free_mib(device)
    if free is not None and free < need_mib:
        problem = f"a run needs at least {need_mib:,.0f} MiB of memory, and {free:,.0f} are free"
        raise ConfigError(field, value, problem, "make it smaller, or free some memory")


@contextmanager
def out_of_memory(stage: str) -> Iterator[None]:
    """Turn the errors by which Python, torch and the GPU say that memory is used up into one ConfigError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and "out of memory" not in text and "allocate memory" not in text:
            raise
        asked = f" ({text.splitlines()[0]})" if text else ""
        smaller = _SMALLER.get(stage)
        mend = "make it smaller, or free some memory" if smaller else "free some memory, or use less data"
        raise ConfigError(smaller or "memory", None, f"{stage} is out of memory{asked}", mend) from error


def _of_machine() -> float | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 2**10
    return None


def _of_container() -> float | None:
    """Of cgroups version 2, or else of version 1."""
    old = _GROUP / "memory"
    for folder, limit, usage, cache in (
        (_GROUP, "memory.max", "memory.current", "inactive_file"),
        (old, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError, StopIteration):
            lines = (folder / "memory.stat").read_text().splitlines()
            dropped = next(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))  # by the system
            used = int((folder / usage).read_text()) - dropped
            return (int((folder / limit).read_text()) - used) / 2**20
    return None
