"""The two kinds of error that a user can cause. Each one names the field, the value, the problem and the remedy."""

from __future__ import annotations


class RaSeRecError(ValueError):
    """Base of the errors below. The command line prints the error as one line and exits with status 2.

    Parameters
    ----------
    field : where the problem is: a parameter, a file, or a line of a file.
    value : the wrong value, quoted in the message; ``None`` leaves it out.
    problem : what is wrong with it.
    mend : what the user should do.
    """

    def __init__(self, field: str, value: object, problem: str, mend: str) -> None:
        self.field, self.value, self.problem, self.mend = field, value, problem, mend
        super().__init__(field, value, problem, mend)  # pickle rebuilds the error from these

    def __str__(self) -> str:
        shown = "" if self.value is None else f"={_shorten(repr(self.value))}"
        return f"{self.field}{shown}: {self.problem}. {self.mend}."


class ConfigError(RaSeRecError):
    """A parameter is unknown, of the wrong type, out of range, or in conflict with another parameter."""


class DataError(RaSeRecError):
    """A data file is missing or unreadable, or its content cannot be split and ranked."""


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
