"""Recommendations as plain values, one answer for each history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def split(frame: pd.DataFrame, count: int) -> list[dict[str, Any]]:
    """The answers for the histories 0 to ``count`` - 1, whose numbers are the users of ``frame``, in order."""
    numbers = frame["user"].to_numpy().astype(np.int64)
    ends = np.searchsorted(numbers, np.arange(count + 1))
    names = {"items": "item", "scores": "score", **({"reasons": "reason"} if "reason" in frame else {})}
    columns = {name: frame[column].tolist() for name, column in names.items()}
    cold = frame["cold"].to_numpy().astype(bool)
    return [
        {**{name: column[start:end] for name, column in columns.items()}, "cold": bool(cold[start:end].any())}
        for start, end in zip(ends[:-1].tolist(), ends[1:].tolist())
    ]
