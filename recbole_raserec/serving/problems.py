"""Errors as answers: a status and ``{"field", "value", "problem", "mend"}``."""

from __future__ import annotations

import re
from typing import Any

from recbole_raserec.errors import RaSeRecError

_STORE = "memory store"  # the field of errors that are not the client's fault
_SHOWN = 120  # letters of a value


class Refusal(RaSeRecError):
    """A request that is not answered, with the status that says why."""

    def __init__(self, status: int, field: str, value: object, problem: str, mend: str, retry_after: int = 1) -> None:
        super().__init__(field, value, problem, mend)
        self.status, self.retry_after = status, retry_after
        self.args = (status, field, value, problem, mend, retry_after)  # pickle rebuilds the error from these


def status_of(error: RaSeRecError) -> int:
    """503 if the store fails, 422 if an input is wrong, or what the refusal says."""
    if isinstance(error, Refusal):
        return error.status
    return 503 if error.field == _STORE else 422


def as_json(error: RaSeRecError) -> dict[str, Any]:
    """The body of an answer. It quotes no path of this machine."""
    value = None if error.field == _STORE else _quoted(error.value)
    return {"field": error.field, "value": value, "problem": error.problem, "mend": error.mend}


def renamed(error: RaSeRecError, histories: str = "{1}", can_skip: bool = False) -> RaSeRecError:
    """The same error in the words of HTTP.

    Parameters
    ----------
    histories : the field of a history's part, by number and name: "histories[{0}]", or "[{0}].{1}".
    can_skip : whether the request may have ``on_unknown``.
    """
    mend = error.mend
    if "on_unknown" in mend:  # it is of Python's call
        mend = "leave it out" + (', or give "on_unknown": "ignore" to skip such items' if can_skip else "")
    part = re.fullmatch(r"(history|next_item|owner|time) (\d+)", error.field)
    field = error.field if part is None else histories.format(part[2], part[1])
    return error if isinstance(error, Refusal) else type(error)(field, error.value, error.problem, mend)


def _quoted(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
