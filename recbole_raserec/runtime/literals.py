"""Python literals in text. Nothing is executed."""

from __future__ import annotations

import ast
from typing import Any

_LONGEST = 10_000  # characters; ast needs hundreds of bytes for each, and a parameter has no more


def literal(text: str) -> Any:
    """``text`` as a Python literal or as ``true``/``false``, otherwise unchanged. Nothing is executed."""
    if len(text) > _LONGEST:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(text.lower(), text)
