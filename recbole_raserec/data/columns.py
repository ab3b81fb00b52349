"""Where the wanted columns are in a table: by the names that the user gave, else by known names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_raserec.errors import DataError

KNOWN_NAMES = {
    "user": ("user_id", "user", "userId", "reviewerID"),
    "item": ("item_id", "item", "itemId", "asin", "parent_asin"),
    "time": ("timestamp", "time", "unixReviewTime"),
    "title": ("title", "movie_title", "name"),
}


@dataclass(frozen=True)
class Column:
    """A wanted column.

    Parameters
    ----------
    what : ``user``, ``item``, ``time`` or ``title``.
    given : the name that the user gave; without it, the first of ``known`` that exists is taken.
    """

    what: str
    given: str | None
    known: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names to look for, best first."""
        return (self.given,) if self.given else self.known


def wanted(what: str, given: str | None) -> Column:
    """The column for ``what``, by the name that the user gave or by today's known names."""
    return Column(what, given, KNOWN_NAMES[what])


def positions(columns: Sequence[Column], names: Sequence[str], where: str) -> list[int]:
    """The position of each column in a table that has ``names``. A name such as ``user_id:token`` is also ``user_id``.

    Raises
    ------
    DataError : a column does not exist, it exists twice, or two columns are the same.
    """
    found: list[int] = []
    for column in columns:
        places = _places(column, names)
        if not places:
            raise _not_there(column, names, where)
        if len(places) > 1:
            raise DataError("header", names[places[0]], "this column occurs twice", "rename or remove one of them")
        if places[0] in found:
            other = columns[found.index(places[0])].what
            problem = f"the {other} and the {column.what} are the same column"
            raise DataError(column.what, names[places[0]], problem, "name two different columns")
        found += places
    return found


def count_found(columns: Sequence[Column], names: Sequence[str]) -> int:
    """How many of the columns exist in a table that has ``names``."""
    return sum(bool(_places(column, names)) for column in columns)


def missing_name(name: str, names: Sequence[str]) -> str:
    """What to say about a name that is not among ``names``: the most similar one, or all of them."""
    near = difflib.get_close_matches(name.lower(), {other.lower() for other in names}, 1, cutoff=0.5)
    if near:
        return f"did you mean {next(other for other in names if other.lower() == near[0])!r}"
    return "name one of these columns"


def listed(names: Sequence[str]) -> str:
    """At most twenty names in one line."""
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _places(column: Column, names: Sequence[str]) -> list[int]:
    for name in column.names:
        places = [place for place, other in enumerate(names) if other == name]
        places = places or [place for place, other in enumerate(names) if other.partition(":")[0] == name]
        if places:
            return places
    return []


def _not_there(column: Column, names: Sequence[str], where: str) -> DataError:
    if column.given:
        problem = f"{where} has no such column; it has {listed(names)}"
        mend = "check --delimiter" if len(names) == 1 else missing_name(column.given, names)
        return DataError(column.what, column.given, problem, mend)
    mend = f"name one {' or '.join(column.known)} in the first line, or name the column with --{column.what}="
    return DataError("header", listed(names), f"there is no column for the {column.what}", mend)
