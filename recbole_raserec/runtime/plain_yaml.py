"""yaml of plain values. It makes no objects of Python, and what it reads is as large as the text."""

from __future__ import annotations

from typing import Any

import yaml

_DEEPEST = 32


class PlainLoader(yaml.SafeLoader):
    """yaml's safe loader without aliases, by which a short text becomes a huge value, and without deep nesting."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node. Raise YAMLError if it is an alias or too deep."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) is not read")
        if self._depth >= _DEEPEST:
            raise yaml.YAMLError("nested too deeply")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def load_yaml(text: str, loader: type[yaml.SafeLoader] = PlainLoader) -> Any:
    """The value of a text. Raise YAMLError if it is not plain yaml."""
    try:
        return yaml.load(text, Loader=loader)
    except (ValueError, TypeError, ArithmeticError, RecursionError, AttributeError, LookupError) as error:
        raise yaml.YAMLError(f"a value cannot be read ({error})") from error  # for example a date of month 13
