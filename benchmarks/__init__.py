"""Measurements of speed and accuracy; see bench.py, accuracy.py, reproduce.py, render.py."""

from __future__ import annotations

import sys

from recbole_raserec.config.words import check_known, parse_arguments
from recbole_raserec.errors import ConfigError


def read_options(argv: list[str], defaults: dict[str, str]) -> dict[str, str]:
    """``defaults``, overridden by ``--name=value`` arguments. An unknown argument ends the program with an error."""
    try:
        given = parse_arguments(argv)
        for name, value in given.items():
            check_known("parameter", name, defaults, value)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    return {**defaults, **given}
