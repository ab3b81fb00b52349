"""What each parameter's value may be; all of it is checked before any data is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from recbole.evaluator.register import metrics_dict

from recbole_raserec.config.words import check_known
from recbole_raserec.errors import ConfigError

PARTS = ("original", "patterns", "decoded")  # of a regenerated training set
MEMORY_PARTS = ("pairs", "patterns")
REGENERATIONS = ("DR4SR", "DR4SR+")

# Values whose type the default does not tell: None means "off" for each of them.
_OPTIONAL_TYPES: dict[str, tuple[type, ...]] = {
    "preset": (str,),
    "pretrained": (str,),
    "regenerate": (str,),
    "regenerator_pretrained": (str,),
    "ray_address": (str,),
    "regenerate_parts": (str, list, tuple),
    "memory": (str, list, tuple),
    "result_file": (str,),
    "gpu_id": (str, int, tuple),
    "port": (str, int),
    "clip_grad_norm": (dict,),
    "load_col": (dict,),
    "unload_col": (dict,),
    "train_neg_sample_args": (dict,),
    "user_inter_num_interval": (str,),
    "item_inter_num_interval": (str,),
    "metrics": (str, list, tuple),
    "topk": (int, list, tuple),
    "drift_shares": (float, list, tuple),
    "mixture_weight": (float, int, list, tuple),
    "mixture_tau": (float, int, list, tuple),
}


def _at_least(low: float) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value >= low), f"must be at least {low}"


def _above_zero() -> tuple[Callable[[Any], bool], str]:
    return (lambda value: 0 < value < math.inf), "must be positive"


def _share(include_one: bool = True) -> tuple[Callable[[Any], bool], str]:
    if include_one:
        return (lambda value: 0 <= value <= 1), "must lie in [0, 1]"
    return (lambda value: 0 <= value < 1), "must lie in [0, 1)"


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in names), f"must be one of {', '.join(names)}"


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "alpha": _share(),
    "beta": _share(),
    "top_k": _at_least(1),
    "mixture_top_k": _at_least(1),
    "attn_tau": _above_zero(),
    "cross_heads": _at_least(1),
    "cross_inner_size": _at_least(1),
    "cross_initializer_range": _above_zero(),
    "cross_layer_norm_eps": _above_zero(),
    "cross_dropout_prob": _share(include_one=False),
    "index_nprobe": _at_least(1),
    "finetune_epochs": _at_least(1),
    "finetune_learning_rate": _above_zero(),
    "finetune_batch_size": _at_least(1),
    "finetune_stopping_step": _at_least(0),
    "ema_decay": _share(include_one=False),
    "window_stride": _at_least(1),
    "softmax_negatives": _at_least(-1),
    "pattern_window": _at_least(2),
    "pattern_min_support": _at_least(1),
    "pattern_pairs": _at_least(1),
    "pattern_weight": _at_least(0),
    "regenerator_embedding_epochs": _at_least(1),
    "regenerator_epochs": _at_least(1),
    "regenerator_learning_rate": _above_zero(),
    "regenerator_batch_size": _at_least(1),
    "regenerator_n_layers": _at_least(1),
    "regenerator_n_heads": _at_least(1),
    "regenerator_inner_size": _at_least(1),
    "regenerator_dropout_prob": _share(include_one=False),
    "regenerator_diversity": _at_least(1),
    "regenerator_entropy_weight": _at_least(0),
    "decode_gamma": _share(),
    "decode_max_length": _at_least(2),
    "decode_weight": _at_least(0),
    "personalize_warmup_epochs": _at_least(0),
    "personalize_every": _at_least(1),
    "personalize_learning_rate": _above_zero(),
    "personalize_terms": _at_least(0),
    "bootstrap_samples": _at_least(100),
    "epochs": _at_least(1),
    "eval_step": _at_least(1),
    "stopping_step": _at_least(0),
    "train_batch_size": _at_least(1),
    "eval_batch_size": _at_least(1),
    "learning_rate": _above_zero(),
    "weight_decay": _at_least(0),
    "nproc": _at_least(1),
    "world_size": ((lambda value: value == -1 or value >= 1), "must be -1 (nproc) or at least 1"),
    "group_offset": _at_least(0),
    "seed": ((lambda value: 0 <= value < 2**31), "must lie in [0, 2^31)"),
    "metric_decimal_place": _at_least(1),
    "MAX_ITEM_LIST_LENGTH": _at_least(1),
    "n_layers": _at_least(1),
    "n_heads": _at_least(1),
    "hidden_size": _at_least(1),
    "inner_size": _at_least(1),
    "hidden_dropout_prob": _share(include_one=False),
    "attn_dropout_prob": _share(include_one=False),
    "layer_norm_eps": _above_zero(),
    "initializer_range": _above_zero(),
    "hidden_act": _one_of("gelu", "relu", "swish", "tanh", "sigmoid"),
    "average_weight": _share(),
    "average_window": _at_least(1),
    "score_tau": ((lambda value: 0 <= value < math.inf), "must be 0 (inner products) or positive"),
    "contrast_weight": _at_least(0),
    "contrast_tau": _above_zero(),
    "learner": _one_of("adam", "adamw", "sgd", "adagrad", "rmsprop"),
    "state": _one_of("INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL"),
}

# What the protocol of every result rests on (leave-one-out, full ranking).
_EVAL_ARGS = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}

# RecBole's parameters that packed training, safe checkpoints and the fixed protocol leave no place for.
_FIXED = {
    "benchmark_filename": None,
    "train_neg_sample_args": None,
    "save_dataset": False,
    "save_dataloaders": False,
    "transform": None,
    "shuffle": True,
    "enable_scaler": False,
}


def check_values(final: dict[str, Any], given: set[str]) -> None:
    """Raise ConfigError unless all values of ``final`` can be used together; names of parts become lists.

    Parameters
    ----------
    given : the parameters that do not have their default.
    """
    _check_ranges(final)
    _check_protocol(final, given)
    final["regenerate_parts"] = _names("regenerate_parts", final["regenerate_parts"], PARTS)
    final["drift_shares"] = _numbers("drift_shares", final["drift_shares"], lambda v: 0 < v <= 1, "in (0, 1]")
    for name, holds, where in (
        ("mixture_weight", lambda v: 0 <= v < 1, "in [0, 1)"),
        ("mixture_tau", lambda v: 0 < v < math.inf, "above 0"),
    ):
        final[name] = _numbers(name, final[name], holds, where)
        if not final[name]:
            raise ConfigError(
                name, final[name], "names nothing", f"give one number or several, for example --{name}=0.2"
            )
    final["memory"] = _names("memory", final["memory"], MEMORY_PARTS)
    if final["regenerate"] is not None:
        check_known("regenerate", final["regenerate"], REGENERATIONS)


def check_type(name: str, value: Any, default: Any) -> Any:
    """``value`` in the type of ``default``; None is left for RecBole where the default is None."""
    allowed = _OPTIONAL_TYPES.get(name)
    if allowed is None and default is not None:
        allowed = (float, int) if isinstance(default, float) else (type(default),)
    if allowed is None or (value is None and (default is None or name in _OPTIONAL_TYPES)):
        return value
    is_bool = isinstance(value, bool)
    if not isinstance(value, allowed) or (is_bool and bool not in allowed):
        names = " or ".join(kind.__name__ for kind in allowed)
        raise ConfigError(name, value, f"is of type {type(value).__name__}, not {names}", f"give it as {names}")
    if isinstance(default, float) and isinstance(value, int) and name not in _OPTIONAL_TYPES:
        return float(value)  # or `8` and `8.0` would name two runs
    return list(value) if isinstance(value, tuple) and name != "gpu_id" else value


def _check_ranges(final: dict[str, Any]) -> None:
    for name, (holds, problem) in RULES.items():
        value = final.get(name)
        shown = value.upper() if name == "state" and isinstance(value, str) else value
        if name in final and (value is None or not holds(shown)):
            raise ConfigError(name, value, problem, "see its line in properties/")
    width = "embedding_size" if "embedding_size" in final else "hidden_size"
    for heads, size in (("n_heads", "hidden_size"), ("cross_heads", width), ("regenerator_n_heads", width)):
        if heads in final and size in final and final[size] % final[heads]:
            problem = f"must divide {size}={final[size]}"
            raise ConfigError(heads, final[heads], problem, "change one of the two")
    if final["window_stride"] > final["MAX_ITEM_LIST_LENGTH"]:
        problem = f"windows of MAX_ITEM_LIST_LENGTH={final['MAX_ITEM_LIST_LENGTH']} would leave gaps"
        raise ConfigError("window_stride", final["window_stride"], problem, "make it smaller")
    _check_metrics(final)


def _names(field: str, value: Any, known: Sequence[str]) -> list[str]:
    """A list, or words with commas between them, of ``known`` names: those, each once, in the order of ``known``."""
    words = value.split(",") if isinstance(value, str) else list(value or [])
    for word in words:
        check_known(field, word.strip() if isinstance(word, str) else word, known)
    if not words:
        raise ConfigError(field, value, "names nothing", f"give one or more of {', '.join(known)}")
    return [name for name in known if name in [word.strip() for word in words]]


def _numbers(field: str, value: Any, holds: Callable[[float], bool], where: str) -> list[float]:
    """One number or several, ascending, each once."""
    given = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    for number in given:
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not holds(number):
            raise ConfigError(field, value, f"must be numbers {where}", f"for example --{field}=[0.25,0.5]")
    return sorted({float(number) for number in given})


def _check_metrics(final: dict[str, Any]) -> None:
    metrics = [final["metrics"]] if isinstance(final["metrics"], str) else final["metrics"]
    topk = [final["topk"]] if isinstance(final["topk"], int) else final["topk"]
    ranking = [name for name, metric in metrics_dict.items() if metric.metric_need == ["rec.topk"]]
    for metric in metrics or [None]:
        check_known("metric", str(metric).lower(), ranking)
    for k in topk or [0]:
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ConfigError("topk", final["topk"], "must be positive whole numbers", "for example [5,10,20]")
    computed = [f"{metric.lower()}@{k}" for metric in metrics for k in topk]
    if str(final["valid_metric"]).lower() not in computed:
        problem = "early stopping cannot watch what is not computed"
        raise ConfigError("valid_metric", final["valid_metric"], problem, f"one of {', '.join(computed)}")


def _check_protocol(final: dict[str, Any], given_names: set[str]) -> None:
    given = dict(_EVAL_ARGS, **(final["eval_args"] if isinstance(final["eval_args"], dict) else {}))
    if given["mode"] in ({"valid": "full", "test": "full"}, {"valid": "full"}, {"test": "full"}):
        given["mode"] = "full"
    if given != _EVAL_ARGS:
        problem = "results here are leave-one-out by time with full ranking"
        raise ConfigError("eval_args", final["eval_args"], problem, f"leave it out, or give {_EVAL_ARGS}")
    final["eval_args"] = dict(_EVAL_ARGS)
    for name, only in _FIXED.items():
        if name in given_names and final.get(name) not in (only, None):
            raise ConfigError(name, final[name], "RecBole has this, and here it would change nothing", "leave it out")
    if "loss_type" in given_names and final["loss_type"] != "CE":
        raise ConfigError(
            "loss_type", final["loss_type"], "training is by cross entropy over all items", "leave it out"
        )
    if final.get("nproc", 1) > 1 and final.get("regenerate") == "DR4SR+":
        raise ConfigError(
            "nproc", final["nproc"], "DR4SR+ learns its weights in one process", "use DR4SR, or leave it out"
        )
