"""Checks of all values before any data is read: each value against its row, and values that must fit together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import faiss
from recbole.evaluator.register import metrics_dict

from recbole_raserec.config.parameters import PARAMETERS
from recbole_raserec.config.ranges import FLOAT, types_of
from recbole_raserec.config.words import check_known
from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.intervals import are_intervals

PARTS = ("original", "patterns", "decoded")  # the parts of a regenerated training set
MEMORY_PARTS = ("pairs", "patterns")
REGENERATIONS = ("DR4SR", "DR4SR+")
_WIDEST = 2**16  # numbers of a key; FAISS would refuse very large ones for another reason
DEEPEST = 254  # largest k of a metric: result files store the ranks up to k + 1 in a byte each


def check_values(final: dict[str, Any], given: set[str]) -> None:
    """Raise ConfigError if ``final`` cannot be used. Bring the lists of names and numbers in it to one form.

    Parameters
    ----------
    final : the value of every parameter; changed in place.
    given : names of the parameters that the user set.
    """
    _check_ranges(final)
    _check_filters(final)
    _check_index(final)
    _check_protocol(final, given)
    final["regenerate_parts"] = _names("regenerate_parts", final["regenerate_parts"], PARTS)
    final["drift_shares"] = _numbers("drift_shares", final["drift_shares"], lambda v: 0 < v <= 1, "in (0, 1]")
    for name, holds, where in (
        ("mixture_weight", lambda v: 0 <= v < 1, "in [0, 1)"),
        ("mixture_tau", lambda v: 0 < v < math.inf, "above 0"),
        ("mixture_popularity_exponent", lambda v: 0 <= v < math.inf, "of at least 0"),
        ("retrieval_strength", lambda v: 0 < v <= 1, "in (0, 1]"),
        ("popularity_adjustment", lambda v: 0 <= v < math.inf, "of at least 0"),
    ):
        final[name] = _numbers(name, final[name], holds, where)
        if not final[name]:
            raise ConfigError(
                name, final[name], "names nothing", f"give one number or several, for example --{name}=0.2"
            )
    _check_time_shares(final["time_shares"])
    final["memory"] = _names("memory", final["memory"], MEMORY_PARTS)
    if final["regenerate"] is not None:
        check_known("regenerate", final["regenerate"], REGENERATIONS)


def _check_time_shares(value: Any) -> None:
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    are_numbers = all(isinstance(share, FLOAT) and not isinstance(share, bool) for share in given)
    if len(given) != 3 or not are_numbers or min(given) <= 0 or not math.isclose(sum(given), 1):
        problem = "must be three positive numbers whose sum is 1: training, validation and test"
        raise ConfigError("time_shares", value, problem, "for example --time_shares=[0.8,0.1,0.1]")


def check_type(name: str, value: Any, default: Any) -> Any:
    """Return ``value`` if its row allows its type. Without such a row, it must have the type of ``default``."""
    row = PARAMETERS.get(name)
    allowed = (row.types if row else ()) or types_of(default)
    if not allowed or (value is None and default is None):
        return value
    fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
    if not fits:
        names = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
        raise ConfigError(name, value, f"is of type {type(value).__name__}, not {names}", f"give it as {names}")
    if value is not None and {*allowed} - {type(None)} == {*FLOAT}:
        return float(value)  # otherwise 8 and 8.0 would be two different runs
    return list(value) if isinstance(value, tuple) and list in allowed else value


def _check_ranges(final: dict[str, Any]) -> None:
    for name, row in PARAMETERS.items():
        value = final.get(name)
        missing = value is None and row.default is not None
        if row.range and name in final and (missing or not row.range.holds(value)):
            raise ConfigError(name, value, row.range.problem, "see its line in properties/")
    check_heads(final)
    if final["window_stride"] != "auto" and final["window_stride"] > final["MAX_ITEM_LIST_LENGTH"]:
        problem = f"windows of MAX_ITEM_LIST_LENGTH={final['MAX_ITEM_LIST_LENGTH']} would leave gaps"
        raise ConfigError("window_stride", final["window_stride"], problem, "make it smaller")
    _check_metrics(final)


def _check_filters(final: dict[str, Any]) -> None:
    """RecBole only warns of an interval that it cannot read, and then filters nothing.

    Those of ``val_interval`` are checked when the types of the fields are known, by ``data.filters``.
    """
    counts = ("user_inter_num_interval", "item_inter_num_interval")
    final.update({name: str(final[name]) for name in counts if isinstance(final[name], list)})  # "[5,9]" is read as one
    for name in counts:
        if final[name] is not None and not are_intervals(final[name]):
            problem = "is not an interval"
            raise ConfigError(name, final[name], problem, 'for example "[5,inf)", several with semicolons')
    of_fields = final.get("val_interval") or {}
    if not isinstance(of_fields, dict):
        raise ConfigError("val_interval", of_fields, "names no field", 'for example {"rating": "[3,inf)"}')
    check_known("rm_dup_inter", final.get("rm_dup_inter") or "first", ("first", "last"))


def _check_index(final: dict[str, Any]) -> None:
    factory = final["index_factory"]
    width = final.get("embedding_size", final.get("hidden_size"))
    try:
        if factory not in ("auto", "lists") and isinstance(width, int) and width <= _WIDEST:
            faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        problem = f"FAISS knows no such index of {width} numbers"
        raise ConfigError("index_factory", factory, problem, "use Flat, auto, lists, or a factory string") from error


def check_heads(final: dict[str, Any]) -> None:
    """Raise ConfigError if a number of heads does not divide its width. The regenerator's counts if there is one."""
    width = "embedding_size" if "embedding_size" in final else "hidden_size"
    pairs = [("n_heads", "hidden_size"), ("cross_heads", width)]
    for heads, size in [*pairs, *([("regenerator_n_heads", width)] if final.get("regenerate") else [])]:
        if heads in final and size in final and final[size] % final[heads]:
            problem = f"must divide {size}={final[size]}"
            raise ConfigError(heads, final[heads], problem, "change one of the two")


def check_one_process(final: dict[str, Any], why: str) -> None:
    """Raise ConfigError, which says ``why``, if the parameters ask for several processes."""
    for name, alone in (("nproc", (1,)), ("world_size", (-1, 1)), ("group_offset", (0,))):
        if final[name] not in alone:
            raise ConfigError(name, final[name], why, "leave it out")


def _names(field: str, value: Any, known: Sequence[str]) -> list[str]:
    """The names in ``value`` (a list, or a string with commas), each once, in the order of ``known``."""
    words = value.split(",") if isinstance(value, str) else list(value or [])
    for word in words:
        check_known(field, word.strip() if isinstance(word, str) else word, known)
    if not words:
        raise ConfigError(field, value, "names nothing", f"give one or more of {', '.join(known)}")
    return [name for name in known if name in [word.strip() for word in words]]


def _numbers(field: str, value: Any, holds: Callable[[float], bool], where: str) -> list[float]:
    """The number or numbers in ``value``, each once, in ascending order."""
    given = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    for number in given:
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not holds(number):
            raise ConfigError(field, value, f"must be numbers {where}", f"for example --{field}=[0.25,0.5]")
    return sorted({float(number) for number in given})


def _check_metrics(final: dict[str, Any]) -> None:
    metrics = final["metrics"].split(",") if isinstance(final["metrics"], str) else final["metrics"]
    metrics = final["metrics"] = [str(metric).strip() for metric in metrics or []]
    topk = [final["topk"]] if isinstance(final["topk"], int) else final["topk"]
    ranking = [name for name, metric in metrics_dict.items() if metric.metric_need == ["rec.topk"]]
    for metric in metrics or [None]:
        check_known("metrics", str(metric).lower(), ranking)
    for k in topk or [0]:
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ConfigError("topk", final["topk"], "must be positive whole numbers", "for example [5,10,20]")
        if k > DEEPEST:
            problem = f"a result file keeps every user's rank, up to {DEEPEST}"
            raise ConfigError("topk", final["topk"], problem, "give smaller numbers")
    computed = [f"{metric.lower()}@{k}" for metric in metrics for k in topk]
    if str(final["valid_metric"]).lower() not in computed:
        problem = "early stopping cannot watch what is not computed"
        raise ConfigError("valid_metric", final["valid_metric"], problem, f"one of {', '.join(computed)}")


def _check_protocol(final: dict[str, Any], given: set[str]) -> None:
    only = PARAMETERS["eval_args"].default
    protocol = dict(only, **(final["eval_args"] if isinstance(final["eval_args"], dict) else {}))
    if protocol["mode"] in ({"valid": "full", "test": "full"}, {"valid": "full"}, {"test": "full"}):
        protocol["mode"] = "full"
    if protocol != only:
        problem = "this plugin ranks all items, with leave-one-out by time or with split=time"
        raise ConfigError("eval_args", final["eval_args"], problem, f"leave it out, or give {only}")
    final["eval_args"] = dict(only)
    for name, row in PARAMETERS.items():
        if row.fixed and name in given and final.get(name) not in (row.default, None):
            raise ConfigError(name, final[name], "this parameter of RecBole would change nothing here", "leave it out")
    if "loss_type" in given and final["loss_type"] != "CE":
        raise ConfigError(
            "loss_type", final["loss_type"], "all models are trained by cross entropy over all items", "leave it out"
        )
    _check_processes(final)


def _check_processes(final: dict[str, Any]) -> None:
    here, first, most = final["nproc"], final["group_offset"], final["world_size"]
    most = here if most == -1 else most
    if first + here > most:
        problem = f"has no place for nproc={here} processes from number {first} on"
        raise ConfigError("world_size", final["world_size"], problem, "give the number of processes on all machines")
    if most > 1 and final.get("regenerate") == "DR4SR+":
        problem = "DR4SR+ can learn its weights only in one process"
        raise ConfigError("nproc", here, problem, "use DR4SR, or leave nproc and world_size out")
