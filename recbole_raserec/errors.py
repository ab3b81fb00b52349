"""The two kinds of error a user can cause, each naming the field, the value and the mend."""

from __future__ import annotations


class RaSeRecError(ValueError):
    """Base of the errors below; the command line prints it as one line and exits with 2.

    Parameters
    ----------
    field : what is wrong: a parameter, a file, or a line of a file.
    value : the offending value, quoted in the message; ``None`` leaves it out.
    problem : what is wrong with it.
    mend : what the user should do.
    """

    def __init__(self, field: str, value: object, problem: str, mend: str) -> None:
        self.field, self.value, self.problem, self.mend = field, value, problem, mend
        super().__init__(field, value, problem, mend)  # what pickle makes it from again, in another process

    def __str__(self) -> str:
        shown = "" if self.value is None else f"={_shorten(repr(self.value))}"
        return f"{self.field}{shown}: {self.problem}. {self.mend}."


class ConfigError(RaSeRecError):
    """A parameter is unknown, of the wrong type, out of range, or at odds with another."""


class DataError(RaSeRecError):
    """A data file is missing, unreadable, or cannot be split and ranked."""


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
