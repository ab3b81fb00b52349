"""Progress bars in RecBole's style: with an ETA, and none with ``show_progress=False``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from recbole.utils import set_color
from tqdm import tqdm

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def bar(label: str, show: bool) -> Progress:
    """A function that wraps an iterable of known length in a bar named ``label``."""
    if not show:
        return iter
    return lambda steps: tqdm(steps, ncols=100, desc=set_color(label, "pink"))
