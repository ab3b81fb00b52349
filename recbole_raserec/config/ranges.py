"""Types and ranges of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

FLOAT: tuple[type, ...] = (float, int)  # an int is accepted where a float is expected


def types_of(default: Any) -> tuple[type, ...]:
    """The types of values that may replace ``default``. The tuple is empty if ``default`` is None."""
    if default is None:
        return ()
    return FLOAT if isinstance(default, float) else (type(default),)


class Range(NamedTuple):
    """A condition that a value must meet, and the error text for a value that does not."""

    holds: Callable[[Any], bool]
    problem: str


def at_least(low: float) -> Range:
    return Range(lambda value: value >= low, f"must be at least {low}")


def one_of(*names: str) -> Range:
    return Range(lambda value: value in names, f"must be one of {', '.join(names)}")


COUNT = at_least(1)
NOT_NEGATIVE = at_least(0)
POSITIVE = Range(lambda value: 0 < value < math.inf, "must be positive")
SHARE = Range(lambda value: 0 <= value <= 1, "must lie in [0, 1]")
BELOW_ONE = Range(lambda value: 0 <= value < 1, "must lie in [0, 1)")
DROPOUT = Range(lambda value: value is None or BELOW_ONE.holds(value), BELOW_ONE.problem)
STRIDE = Range(lambda value: value == "auto" or (isinstance(value, int) and value >= 1), "must be at least 1, or auto")
SEED = Range(lambda value: 0 <= value < 2**31, "must lie in [0, 2^31)")
WORLD_SIZE = Range(lambda value: value == -1 or value >= 1, "must be -1 (nproc) or at least 1")
SCORE_TAU = Range(lambda value: 0 <= value < math.inf, "must be 0 (inner products) or positive")
ACTIVATION = one_of("gelu", "relu", "swish", "tanh", "sigmoid")
SPLIT = one_of("leave_one_out", "time")
AVERAGES = one_of("mean", "filter", "fourier")
LEARNER = one_of("adam", "adamw", "sgd", "adagrad", "rmsprop")
_LEVELS = one_of("INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL")
LEVEL = Range(lambda value: _LEVELS.holds(str(value).upper()), _LEVELS.problem)  # RecBole accepts lower case
