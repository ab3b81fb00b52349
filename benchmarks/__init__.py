"""Speed and accuracy measured; see bench.py, accuracy.py, reproduce.py, render.py."""

from __future__ import annotations

import sys

from recbole_raserec.config.words import check_known, parse_arguments
from recbole_raserec.errors import ConfigError


def read_options(argv: list[str], defaults: dict[str, str]) -> dict[str, str]:
    """``--name=value`` words over ``defaults``; an unknown one ends the program with a line that says so."""
    try:
        given = parse_arguments(argv)
        for name, value in given.items():
            check_known("parameter", name, defaults, value)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    return {**defaults, **given}
