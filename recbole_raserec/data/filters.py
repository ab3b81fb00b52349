"""RecBole's filters of a data set: by the values of a field, and by how often users and items occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole.config import Config
from recbole.utils import FeatureType

from recbole_raserec.errors import DataError
from recbole_raserec.runtime.intervals import are_intervals

_COUNTS = ("user_inter_num_interval", "item_inter_num_interval")


def check_val_interval(filters: Mapping[str, Any], types: Mapping[str, FeatureType]) -> None:
    """Raise DataError unless each filter suits its field: intervals of numbers, or a list of tokens.

    RecBole only warns of a list of numbers, and then filters nothing but drops one interaction.
    """
    for field, value in filters.items():
        numbers = types.get(field) in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
        if numbers and not are_intervals(value):
            problem = "the field holds numbers, and this is no interval"
            raise DataError(f"val_interval of {field}", value, problem, 'for example "[3,5);[8,inf)"')
        if field in types and not numbers and not isinstance(value, (list, tuple, set)):
            problem = "the field holds tokens, and this is no list of them"
            raise DataError(f"val_interval of {field}", value, problem, 'for example ["1", "2"]')


def described(config: Config) -> str:
    """The filters by counts, in words."""
    return ", ".join(f"{name}={config[name]}" for name in _COUNTS)
