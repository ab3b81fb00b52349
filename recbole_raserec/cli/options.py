"""The options of commands that are not parameters of a run: names, defaults and allowed values."""

from __future__ import annotations

from typing import Any, Optional

from recbole_raserec.config.words import check_known, parse_arguments
from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.literals import literal

Options = dict[str, tuple[Any, Optional[tuple[Any, ...]]]]

# name: (default, allowed values or None); the user must give an option whose default is ... .
CONVERT_OPTIONS: Options = {
    "input": (..., None),
    "format": ("auto", ("auto", "sequences", "csv", "json", "parquet", "amazon-csv", "amazon-json")),
    "dataset": (..., None),
    "data_path": ("dataset", None),
    "user": ("", None),
    "item": ("", None),
    "time": ("", None),
    "delimiter": ("", None),
    "items": ("", None),
    "title": ("", None),
    "k_core": (0, None),
    "on_bad_line": ("error", ("error", "skip")),
    "show_progress": (True, (True, False)),
}


SERVING_OPTIONS: Options = {
    "model_file": (..., None),
    "input": (..., None),
    "store": ("", None),
    "index_factory": ("auto", None),
    "index_recall": (0.0, None),
    "show_progress": (True, (True, False)),
}
GUARD_OPTIONS: Options = {
    "max_per_owner": (0, None),
    "votes_per_owner": (0.0, None),
    "quarantine": (0.0, None),
    "new_item_owners": (0, None),
}

RECOMMEND_OPTIONS: Options = {
    "output": ("-", None),
    "k": (10, None),
    "explain": (False, (True, False)),
    "filter_seen": (True, (True, False)),
    "on_unknown": ("raise", ("raise", "warn", "ignore")),
}

SERVE_OPTIONS: Options = {
    "model_file": (..., None),
    "store": ("", None),
    "host": ("127.0.0.1", None),
    "port": (8000, None),
    "workers": (1, None),
    "token_file": ("", None),
    "batching": (True, (True, False)),
    "log_histories": (False, (True, False)),
    "max_adds": (0, None),
}
LIMIT_OPTIONS: Options = {
    "max_body": (2**20, None),
    "max_batch": (256, None),
    "max_history": (10_000, None),
    "max_k": (200, None),
    "max_waiting": (4096, None),
    "timeout": (10, None),
}


TUNE_OPTIONS: Options = {
    "params_file": (..., None),
    "output": ("tune", None),
    "num_samples": (10, None),
    "search": ("random", ("random", "grid", "optuna")),
    "scheduler": ("fifo", ("fifo", "asha")),
    "resources_per_trial": ("", None),
    "ray_address": ("local", None),
    "resume": (False, (True, False)),
}


def read_options(words: list[str], known: Options) -> dict[str, Any]:
    """The options of a command, checked by name, type and allowed values."""
    options = {name: default for name, (default, _) in known.items() if default is not ...}
    for name, text in parse_arguments(words).items():
        check_known("parameter", name, known, text)
        default, allowed = known[name]
        value = text if default is ... or isinstance(default, str) else literal(text)
        if allowed and value not in allowed:
            mend = f"use one of {', '.join(map(str, allowed))}"
            raise ConfigError(f"--{name}", text, "not an allowed value", mend)
        if type(default) is int and (type(value) is not int or value < 0):
            raise ConfigError(f"--{name}", text, "not a whole number from 0", f"for example --{name}=5")
        options[name] = value
    for name in known:
        if name not in options:
            raise ConfigError(f"--{name}", None, "not given", "see recbole-raserec --help")
    return options


def resources(text: str) -> dict[str, float] | None:
    """Text such as ``cpu=2,gpu=0.5`` as a dict, or None if the text is empty."""
    found = {}
    for part in filter(None, text.split(",")):
        name, _, amount = part.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError as error:
            mend = "for example --resources_per_trial=cpu=2,gpu=1"
            raise ConfigError("--resources_per_trial", text, "not of the form name=amount,...", mend) from error
    return found or None
