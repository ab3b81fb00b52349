"""Tokens: the names of users and items in RecBole's atomic files."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from numbers import Integral, Real

from recbole_raserec.data.rows import BadLineError

# Names that pandas, and therefore RecBole, reads as a missing value or as padding.
MISSING = {
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    "[PAD]",
}  # fmt: skip
# What would break a row of an atomic file. pandas reads a quote at the start of a field as the start of a quotation.
_BREAKS_ROW = re.compile('[\t\r\n\0\ud800-\udfff]|^"')
_EXACT = 2**53  # from here on, a float no longer holds every whole number


def token(what: str, value: object) -> str:
    """``value`` as text without outer spaces: ``"a"`` for ``" a"``, ``"1"`` for 1 and for 1.0.

    ``what`` is ``user``, ``item`` or ``title``, for the error.

    Raises
    ------
    BadLineError : the value is missing, or it is neither text nor a number.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, Real):
        is_missing = value is None or type(value).__name__ in {"NAType", "NaTType"}
        raise BadLineError(f"the {what} is " + ("missing" if is_missing else f"{value!r}, neither text nor a number"))
    if isinstance(value, Integral):
        return str(int(value))
    number = float(value)
    if math.isnan(number):
        raise BadLineError(f"the {what} is missing")
    if abs(number) >= _EXACT:
        raise BadLineError(f"the {what} is {number!r}, a float that may have lost digits; give whole numbers or text")
    return str(int(number)) if number.is_integer() else repr(number)


def check_token(what: str, name: str) -> None:
    """Raise BadLineError if RecBole would read ``name`` as a missing value or as something else."""
    if name in MISSING:
        raise BadLineError(f"the {what} is {name!r}")
    if _BREAKS_ROW.search(name):
        problem = "contains a tab, a line break or another character that no atomic file can hold"
        if name.startswith('"'):
            problem = "starts with a quotation mark, and RecBole would take that for a quotation"
        raise BadLineError(f"the {what} {name[:80]!r} {problem}")
