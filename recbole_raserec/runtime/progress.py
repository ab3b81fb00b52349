"""Progress bars in RecBole's style (with the remaining time), and the seconds of each stage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from recbole.utils import set_color
from tqdm import tqdm

from recbole_raserec.runtime.room import out_of_memory

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def bar(label: str, show: bool) -> Progress:
    """A function that wraps an iterable of known length in a bar named ``label``.

    There is no bar unless ``show``, and none if standard error is no terminal: a log file needs no bars.
    """
    if not show:
        return iter
    return lambda steps: tqdm(steps, ncols=100, desc=set_color(label, "pink"), disable=None)


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall-clock seconds of the block to ``seconds[stage]``, and log a line.

    Raises
    ------
    ConfigError : the stage is out of memory.
    """
    start = perf_counter()
    with out_of_memory(stage):
        yield
    took = perf_counter() - start
    logging.getLogger().info(f"{stage}: {took:.1f} s")
    seconds[stage] = seconds.get(stage, 0.0) + took


def format_seconds(seconds: Mapping[str, float]) -> str:
    """Text such as ``seconds: load 1, pretrain 61``."""
    return "seconds: " + ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
