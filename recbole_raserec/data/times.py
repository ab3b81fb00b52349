"""Times: numbers of seconds to nanoseconds, and dates. All become seconds since 1970-01-01 in UTC."""

from __future__ import annotations

import math
import re
from array import array
from datetime import date, datetime
from decimal import Decimal
from numbers import Real

import numpy as np

from recbole_raserec.data.rows import BadLineError

# Name, ticks per second, and the size from which on the next unit is meant. 1e11 seconds is the year 5138, and
# 1e11 milliseconds is the year 1973. So every time from 1973 to 5138 is in exactly one of these ranges.
_END = 1e11
_UNITS = (
    ("seconds", 1.0, _END),
    ("milliseconds", 1e3, 1e3 * _END),
    ("microseconds", 1e6, 1e6 * _END),
    ("nanoseconds", 1e9, math.inf),
)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?"
    r" ?(?:Z|UTC|([+-])(\d\d):?(\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1)


class Seconds(float):
    """A time that was given as a date: seconds since 1970-01-01 in UTC."""


class Times:
    """A column of times. It holds either dates or numbers; its first value decides."""

    def __init__(self) -> None:
        self._values = array("d")
        self._are_dates: bool | None = None

    def append(self, value: object) -> None:
        """Add a time, in any form that :func:`read_time` reads.

        Raises
        ------
        BadLineError : it is no time, or a date among numbers, or a number among dates.
        """
        time = read_time(value)
        is_date = type(time) is Seconds
        if self._are_dates is not is_date:
            if self._are_dates is not None:
                kinds = ("a date", "numbers") if is_date else ("a number", "dates")
                raise BadLineError(f"the time {_shown(value)} is {kinds[0]}, and the times before it are {kinds[1]}")
            self._are_dates = is_date
        self._values.append(time)

    def raw(self) -> np.ndarray:
        """[N] the times in the unit of the source, in float64."""
        return np.array(self._values)

    def unit(self) -> tuple[str, float]:
        """The name of the unit, and its ticks per second. The median size decides for the whole column."""
        if self._are_dates:
            return "dates", 1.0
        return unit_of(self.raw())

    def of_finer_unit(self, seconds: np.ndarray) -> float | None:
        """The latest of ``seconds`` [N], as the source gives it, if its unit can only be finer; None if it may fit.

        Such a time is after the year 5138 and a hundred times the median. A clock that starts at 0 has none.
        """
        latest = float(seconds.max(initial=0))
        if self._are_dates or latest < max(_END, 100 * float(np.median(seconds))):
            return None
        return latest * self.unit()[1]


def unit_of(numbers: np.ndarray) -> tuple[str, float]:
    """The unit of the times ``numbers`` [N], and its ticks per second. Times before 1973 count as seconds."""
    size = float(np.median(np.abs(numbers))) if len(numbers) else 0.0
    return next((name, ticks) for name, ticks, end in _UNITS if size < end)


def read_time(value: object) -> float:
    """A date, an ISO date as text, or a number, as Seconds if it is a date. A date without a time zone is in UTC.

    Raises
    ------
    BadLineError : the value is missing, not finite, or of another form.
    """
    try:
        time = _time(value)
    except (ValueError, OverflowError):
        time = math.nan
    if not math.isfinite(time):
        raise BadLineError(f"the time {_shown(value)} is neither a number nor a date such as 2024-01-19 10:00:00")
    return time


def _time(value: object) -> float:
    if isinstance(value, str):
        return _number_or_date(value)
    if isinstance(value, Seconds):
        return value
    if type(value) is int or type(value) is float:  # the test for any number, below, is slow
        return float(value)
    if isinstance(value, date):  # also datetime and pandas' Timestamp
        return _date(value.isoformat())
    if isinstance(value, (Real, Decimal)) and not isinstance(value, bool):
        return float(value)
    return math.nan


def _number_or_date(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return _date(text.strip())


def _date(text: str) -> Seconds:
    """An ISO date as Seconds. Raise ValueError if ``text`` is none."""
    match = _ISO.fullmatch(text)
    if not match:
        raise ValueError(text)
    *clock, fraction, sign, hours, minutes = match.groups()
    since = datetime(*(int(part or 0) for part in clock)) - _EPOCH  # type: ignore[arg-type]
    offset = int(hours or 0) * 3600 + int(minutes or 0) * 60
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise ValueError(text)
    whole = since.days * 86_400 + since.seconds - (-offset if sign == "-" else offset)
    return Seconds(whole + int((fraction or "0").ljust(9, "0")) / 10**9)


def seconds_of(counts: np.ndarray, ticks: int) -> np.ndarray:
    """Int64 ``counts`` [N] of a clock with ``ticks`` per second, as seconds [N] in float64.

    The sum of whole seconds and a fraction gives the same float for the same time in any unit.
    """
    return counts // ticks + counts % ticks / ticks


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
