"""Measurements of speed and accuracy; see bench.py, accuracy.py, reproduce.py, render.py."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

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


def code_sha256() -> str:
    """SHA-256 of the package's source files."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent.parent / "recbole_raserec").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
