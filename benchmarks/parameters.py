"""docs/parameters.md, from the table of parameters. ``python benchmarks/render.py`` writes it."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from recbole_raserec.config.parameters import PARAMETERS
from recbole_raserec.config.rows import AFFECTS, Parameter

INTRODUCTION = """# Parameters

Written by `python benchmarks/render.py` from [the table](../recbole_raserec/config/parameters.py) that the checks, the
names of checkpoints and the report read. Users edit the same defaults in [properties/](../properties). Give one as
`--name=value`, in a yaml file (`--config_files`) or in a `config_dict`; the priorities are RecBole's. An unknown name,
a wrong type or a value out of range is an error before any work starts. If a value is known to change nothing
under the others (`decode_gamma` where nothing is decoded, say), `run` and `tune` warn of it and say why.

`--dataset=amazon-beauty`, `amazon-toys-games`, `amazon-sports-outdoors` and `ml-100k` have values of their own in
[properties/dataset/](../properties/dataset), which replace these defaults. The Amazon data sets have, for example,
`safeguard: False`. Backbones have theirs in [properties/model/](../properties/model): DuoRec `train_batch_size: 512`,
HSTU `score_tau: 0.1` and `attn_dropout_prob: 0.0`.

The last column is the earliest stage that depends on a parameter; all later stages depend on it too:

{stages}

A parameter marked *fixed* is RecBole's and would change nothing here. Setting it to another value
is an error. A backbone of RecBole has RecBole's own parameters too."""


def parameters_page() -> str:
    """The page: a table for each part of the system."""
    stages = "\n".join(f"- `{name}`: {meaning}" for name, meaning in AFFECTS.items())
    parts: list[str] = [INTRODUCTION.format(stages=stages)]
    for part, rows in groupby(sorted(PARAMETERS.values(), key=_place), key=lambda row: row.part):
        lines = ["| parameter | default | meaning | source | affects |", "|---|---|---|---|---|", *map(_line, rows)]
        parts += [f"## {part.capitalize()}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _place(row: Parameter) -> int:
    """Where the part of ``row`` stands first in the table."""
    return next(number for number, other in enumerate(PARAMETERS.values()) if other.part == row.part)


def _line(row: Parameter) -> str:
    problem = "" if row.range is None else f" It {row.range.problem}."
    meaning = (row.meaning + problem + (" *Fixed.*" if row.fixed else "")).replace("|", "\\|")
    return f"| `{row.name}` | {_shown(row.default)} | {meaning} | {row.source} | {row.affects} |"


def _shown(default: Any) -> str:
    return "" if default is None else f"`{default}`"
