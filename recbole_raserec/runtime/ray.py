"""Connecting to Ray: a cluster that runs, or one of this machine's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recbole_raserec.errors import ConfigError


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Inside the block Ray is connected to ``address``: "local" starts it on this machine, "auto" finds a cluster.

    A connection that there was before is used and stays. With None nothing is done.

    Raises
    ------
    ConfigError : there is no cluster at ``address``.
    """
    if address is None:
        yield
        return
    import ray  # here: it takes a second, and most runs need none

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
