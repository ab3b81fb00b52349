"""The search space, from a yaml file of this package or a parameter file of RecBole's ``run_hyper``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_raserec.config.words import check_known
from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.literals import literal
from recbole_raserec.runtime.plain_yaml import load_yaml
from recbole_raserec.runtime.signals import keeping_sigterm

NUMBERS = {"uniform": 2, "loguniform": 2, "randint": 2, "quniform": 3}  # how many numbers each kind takes
KINDS = ("choice", *NUMBERS)


@dataclass(frozen=True)
class Dimension:
    """One parameter and its possible values.

    Attributes
    ----------
    values : the choices; or low and high (high is exclusive for randint), and for quniform the step.
    """

    name: str
    kind: str
    values: tuple[Any, ...]

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values for the check of a configuration: every choice, or the lowest and the highest."""
        if self.kind == "randint":
            return self.values[0], self.values[1] - 1
        return self.values if self.kind == "choice" else self.values[:2]

    @property
    def draws_fractions(self) -> bool:
        """Whether it draws numbers that are not whole."""
        if self.kind == "quniform":
            return any(value != int(value) for value in (self.values[0], self.values[2]))
        return self.kind in ("uniform", "loguniform")

    def domain(self, grid: bool) -> Any:
        """The dimension in Ray Tune's form; ``grid`` tries every choice in turn.

        Raises
        ------
        ConfigError : ``grid`` is set, and the dimension is not a choice.
        """
        with keeping_sigterm():
            from ray import tune

        if grid:
            if self.kind != "choice":
                problem = f"a grid needs choices, and {self.name} is {self.kind}"
                raise ConfigError(
                    "search", "grid", problem, f"write {self.name}: {{choice: [...]}}, or --search=random"
                )
            return tune.grid_search(list(self.values))
        if self.kind == "choice":
            return tune.choice(list(self.values))
        if self.kind == "quniform" and self.values[2] == 1:  # Ray does not round to a step of 1
            return tune.randint(int(self.values[0]), int(self.values[1]) + 1)
        return getattr(tune, self.kind)(*self.values)


def read_space(path: str | Path) -> list[Dimension]:
    """The dimensions of a params_file.

    ``*.yaml`` holds lines like ``alpha: {uniform: [0.1, 0.9]}``. Any other file has RecBole's form: lines like
    ``learning_rate loguniform -8,0`` (natural logarithms, as in RecBole); ``#`` starts a comment.

    Raises
    ------
    ConfigError : the file cannot be read, or one of its lines is not a valid dimension.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("params_file", str(path), str(error), "for example properties/search/RaSeRec.yaml") from error
    lines = _yaml_lines(text, path) if str(path).endswith((".yaml", ".yml")) else _recbole_lines(text)
    space = [_dimension(*line) for line in lines]
    if not space:
        raise ConfigError(
            "params_file", str(path), "names no parameter", "write lines like alpha: {uniform: [0.1, 0.9]}"
        )
    return space


def _yaml_lines(text: str, path: str | Path) -> list[tuple[str, str, Any]]:
    try:
        content = load_yaml(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError("params_file", str(path), problem, "write lines like alpha: {uniform: [0.1, 0.9]}") from error
    lines = []
    for name, how in (content or {}).items() if isinstance(content or {}, dict) else ():
        if not isinstance(how, dict) or len(how) != 1:
            raise ConfigError(str(name), how, "not a way to draw values", f"write {name}: {{choice: [1, 2]}}")
        lines.append((str(name), *next(iter(how.items()))))
    return lines


def _recbole_lines(text: str) -> list[tuple[str, str, Any]]:
    lines = []
    for line in text.splitlines():
        words = line.partition("#")[0].split(maxsplit=2)
        if not words:
            continue
        if len(words) < 3:
            raise ConfigError("params_file", line, "not of the form NAME KIND VALUES", "like alpha uniform 0.1,0.9")
        name, kind, values = words[0], words[1], literal(words[2])
        if kind == "choice" and isinstance(values, (list, tuple)):
            values = [literal(value) if isinstance(value, str) else value for value in values]
        if kind == "loguniform" and isinstance(values, tuple):
            values = _exponentials(name, values)
        lines.append((name, kind, values))
    return lines


def _exponentials(name: str, values: tuple[Any, ...]) -> tuple[float, ...]:
    try:
        return tuple(math.exp(value) for value in values)
    except (TypeError, OverflowError) as error:
        problem = "not natural logarithms of numbers"
        raise ConfigError(name, values, problem, f"for example {name} loguniform -8,0") from error


def _dimension(name: str, kind: str, values: Any) -> Dimension:
    check_known(f"way to draw {name}", kind, KINDS)
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ConfigError(name, values, "not a list of values", f"write {name}: {{{kind}: [1, 2]}}")
    if kind != "choice":
        _check_range(name, kind, values)
    return Dimension(name, kind, tuple(values))


def _check_range(name: str, kind: str, values: Sequence[Any]) -> None:
    number = NUMBERS[kind]
    if len(values) != number or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise ConfigError(
            name, list(values), f"{kind} takes {number} numbers", f"write {name}: {{{kind}: [low, high]}}"
        )
    if not values[0] < values[1]:
        raise ConfigError(name, list(values), "low must be below high", "swap them")
    if kind == "loguniform" and values[0] <= 0:
        raise ConfigError(name, list(values), "loguniform needs positive numbers", "use uniform, or a low above 0")
    if kind == "quniform":
        _check_step(name, *values)


def _check_step(name: str, low: float, high: float, step: float) -> None:
    """Ray draws multiples of ``step``, so both ends must be some."""
    if step <= 0:
        raise ConfigError(name, [low, high, step], "the step must be positive", "give a step above 0")
    if not all(math.isclose(end / step, round(end / step)) for end in (low, high)):
        problem = f"low and high must be multiples of the step {step:g}"
        raise ConfigError(name, [low, high, step], problem, f"write {name}: {{choice: [...]}} for other values")
