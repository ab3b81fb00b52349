"""Parsing of ``--name=value`` arguments. Every command uses this module, so it imports nothing slow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from recbole_raserec.errors import ConfigError


def parse_arguments(arguments: Iterable[str]) -> dict[str, str]:
    """``--name=value`` arguments as a dict of strings. Any other form raises ConfigError."""
    values: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument[2:].partition("=")
        if not argument.startswith("--") or not name or not equals:
            raise ConfigError("argument", argument, "not of the form --name=value", "write it so, without spaces")
        if values.get(name, value) != value:
            raise ConfigError(f"--{name}", value, f"also given as {values[name]!r}", "give it once")
        values[name] = value
    return values


def check_known(what: str, name: Any, known: Iterable[str], value: Any = None, first: Iterable[str] = ()) -> None:
    """Raise ConfigError unless ``name`` is one of ``known``. The error suggests the most similar known name.

    A very similar name of ``first`` is suggested before all others.

    If ``what`` is "parameter", ``name`` is a parameter and ``value`` its value.
    Otherwise ``what`` is the parameter and ``name`` its value.
    """
    names = sorted(known)
    if name in names:
        return
    lowered = {candidate.lower(): candidate for candidate in names}
    word = str(name).lower().replace("-", "_")
    own = [other for other in map(str.lower, first) if other in lowered]
    near = difflib.get_close_matches(word, own, 1, 0.85) or difflib.get_close_matches(word, lowered, 1, 0.5)
    if near:
        mend = f"did you mean {lowered[near[0]]!r}?"
    else:
        mend = f"known: {', '.join(names)}" if len(names) < 20 else "see properties/ for the names"
    field, shown = (str(name), value) if what == "parameter" else (what, name)
    raise ConfigError(field, shown, f"unknown {what}", mend.rstrip("?") if near else mend)
