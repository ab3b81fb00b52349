"""Titles of items: collected from a table of items, and read from RecBole's atomic file ``dataset.item``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from recbole_raserec.data.rows import BadLineError
from recbole_raserec.data.tokens import MISSING, token
from recbole_raserec.errors import DataError

TITLE_HEADER = "item_id:token\ttitle:token_seq\n"
_MEND = "the file has one line per item, and as many fields in each line as in the first one"


class Titles:
    """The titles of the items that are in the interactions. The first title of an item counts.

    Attributes
    ----------
    found : the titles by item token.
    """

    def __init__(self, items: Collection[str]) -> None:
        self._items = items
        self.found: dict[str, str] = {}

    def add(self, item: object, title: object) -> None:
        """Add the title of an item. Raise BadLineError if the item is missing, or one of them is malformed."""
        name = token("item", item)
        if name in MISSING:
            raise BadLineError(f"the item is {name!r}")
        if name not in self._items or name in self.found:
            return
        text = "" if _is_missing(title) else one_line(token("title", title))
        if text not in MISSING:
            self.found[name] = text


def one_line(title: str) -> str:
    """``title`` as words with one space between them, in a form that RecBole and pandas read back unchanged.

    pandas takes a quotation mark at the start of a field for the start of a quotation, so such a title has
    apostrophes in place of its quotation marks.
    """
    words = " ".join(title.replace("\0", " ").split()).encode("utf-8", "replace").decode()
    return words.replace('"', "'") if words.startswith('"') else words


def read_titles(folder: Path, dataset: str) -> dict[str, str]:
    """Item token -> title from ``folder/dataset.item``; empty if the file or a column of titles does not exist.

    The first column holds the items. The titles are in the first other column whose name contains ``title``, else in
    the first one whose name contains ``name``. Items without a title are left out.

    Raises
    ------
    DataError : the file is not text in UTF-8, or a line has another number of fields than the first line.
    """
    path = Path(folder) / f"{dataset}.item"
    if not path.is_file():
        return {}
    titles: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            header = file.readline().rstrip("\r\n").split("\t")
            place = _title_place(header)
            if place is None:
                return {}
            for number, line in enumerate(file, 2):
                fields = line.rstrip("\r\n").split("\t")
                if "\0" in line or (len(fields) != len(header) and fields != [""]):
                    problem = f"it has {len(fields)} fields, not {len(header)}"
                    raise DataError(f"{path} line {number}", None, "binary data" if "\0" in line else problem, _MEND)
                if fields != [""] and fields[place]:
                    titles.setdefault(fields[0], fields[place])
    except UnicodeDecodeError as error:
        raise DataError(str(path), None, "not a text file in UTF-8", _MEND) from error
    return titles


def _title_place(header: list[str]) -> int | None:
    names = [column.partition(":")[0].lower() for column in header]
    for wanted in ("title", "name"):
        for place, name in enumerate(names[1:], 1):
            if wanted in name:
                return place
    return None


def _is_missing(title: object) -> bool:
    return title is None or title != title or type(title).__name__ == "NAType"  # only NaN differs from itself
