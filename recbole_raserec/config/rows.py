"""One row of the table of parameters (see parameters.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recbole_raserec.config import ranges

AFFECTS = {
    "rows": "regenerated rows, and so everything after them",
    "backbone": "the backbone's training",
    "memory": "what the memory bank holds, or what is found in it",
    "finetune": "fine-tuning",
    "mixture": "how memories and scores are combined, which needs no training",
    "report": "only which figures a result shows",
    "nothing": "no weights or figures by its own value. A checkpoint or preset counts by what it holds; `nproc` and "
    "the device change random numbers and last digits",
}


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes
    ----------
    default : None means "off" or "not given".
    types : allowed Python types; an empty tuple means the type of the default in force.
    fixed : a parameter of RecBole that must keep its default here.
    architecture : two models can exchange weights only if they have the same value.
    part : the part of the system that the parameter belongs to. "regeneration": it has an effect only if
        something is regenerated. "backbone": it exists only if the backbone's yaml file names it.
    source : the paper with its section, the library, or "here".
    affects : a key of ``AFFECTS``: the earliest stage that depends on it. All later stages depend on it too.
    newer : it is newer than some runs, whose names must not change. A fingerprint leaves it out at the value that it
        had in these runs.
    before : that value, of a newer parameter; None means its default.
    """

    name: str
    default: Any
    meaning: str
    range: ranges.Range | None = None
    types: tuple[type, ...] = ()
    fixed: bool = False
    architecture: bool = False
    part: str = ""
    source: str = ""
    affects: str = ""
    newer: bool = False
    before: Any = None

    @property
    def earlier(self) -> Any:
        """The value in runs that are older than the parameter."""
        return self.default if self.before is None else self.before
