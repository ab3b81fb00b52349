"""Intervals in RecBole's form, for example ``[3,5);[8,inf)``."""

from __future__ import annotations

import re
from typing import Any


def are_intervals(value: Any) -> bool:
    """Whether RecBole can read ``value`` as intervals: ``[3,5);[8,inf)``, or the list [3, 5]."""
    return all(map(_is_interval, str(value).split(";")))


def _is_interval(text: str) -> bool:
    found = re.fullmatch(r"\s*[\[(]([^,;\[\]()]+),([^,;\[\]()]+)[\])]\s*", text)
    try:
        return found is not None and float(found[1]) <= float(found[2])
    except ValueError:
        return False
