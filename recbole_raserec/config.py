"""RecBole's Config with this plugin's properties, strict names and types, and no ``eval``.

Sources and their order are RecBole's: command line > config dict > config files > properties.
Everything is checked here, before any data is read.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import recbole.config
import torch
import yaml
from recbole.evaluator.register import metrics_dict
from recbole.utils import ModelType

from recbole_raserec import distributed
from recbole_raserec.arguments import check_known, literal, parse_arguments
from recbole_raserec.errors import ConfigError

MODELS = ("RaSeRec",)
DEFAULT_BACKBONE = "SASRec"
PARTS = ("original", "patterns", "decoded")  # of a regenerated training set
MEMORY_PARTS = ("pairs", "patterns")
REGENERATIONS = ("DR4SR", "DR4SR+")

# Names RecBole reads although no yaml of its own declares them.
_RECBOLE_NAMES = {
    "model", "dataset", "config_file", "config_files", "nproc", "world_size", "ip", "port", "offset",
    "group_offset", "local_rank", "verbose", "reg_weight", "device", "single_spec", "eval_type",
    "saved", "valid_neg_sample_args", "test_neg_sample_args",
}  # fmt: skip

# Values whose type the default does not tell: None means "off" for each of them.
_OPTIONAL_TYPES: dict[str, tuple[type, ...]] = {
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


def properties_folder() -> Path:
    """Where the yaml files are: inside the installed package, or beside it in a clone."""
    inside = Path(__file__).parent / "properties"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "properties"


class Config(recbole.config.Config):
    """RecBole's Config for this plugin.

    Parameters
    ----------
    model, dataset : names; by default those among the other sources.
    config_file_list : yaml files.
    config_dict : parameters.
    arguments : command line, each ``--name=value`` (RecBole's reads ``sys.argv`` by itself; this
        one only what it is given, so that importing programs keep their own command line).

    Raises
    ------
    ConfigError : a name is unknown, or a value has the wrong type or range.
    """

    def __init__(
        self,
        model: str | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str] | None = None,
        config_dict: dict[str, Any] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._arguments = list(arguments)
        try:
            super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        except ConfigError:
            raise
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            raise ConfigError("config", None, str(error), "see RecBole's documentation") from error

    def changed(self, **values: Any) -> Config:
        """A copy with other values; they are not checked again."""
        other = copy.copy(self)
        other.final_config_dict = {**self.final_config_dict, **values}
        return other

    def plain(self) -> dict[str, Any]:
        """Every parameter as JSON types, for result files and checkpoints."""
        return {name: _plain(value) for name, value in sorted(self.final_config_dict.items())}

    # -- sources ---------------------------------------------------------------------------------

    def _build_yaml_loader(self) -> type[yaml.SafeLoader]:
        class Loader(yaml.SafeLoader):  # a subclass: RecBole adds its resolver to yaml's global one
            pass

        scientific = re.compile(r"^[-+]?(\d[\d_]*)?\.?[\d_]+[eE][-+]?\d+$")
        Loader.add_implicit_resolver("tag:yaml.org,2002:float", scientific, list("-+.0123456789"))
        return Loader

    def _load_config_files(self, file_list: Sequence[str] | None) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for file in file_list or ():
            merged.update(self._load_yaml(Path(file)))
        return merged

    def _load_yaml(self, file: Path) -> dict[str, Any]:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=self.yaml_loader)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("config_files", str(file), str(error), "give a readable yaml file") from error
        except yaml.YAMLError as error:
            problem = " ".join(str(error).split())
            raise ConfigError("config_files", str(file), problem, "write plain yaml, name: value") from error
        if content is not None and not isinstance(content, dict):
            raise ConfigError("config_files", str(file), "not a mapping", "write lines like alpha: 0.5")
        return content or {}

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        for name, value in config_dict.items():
            if isinstance(value, str):
                config_dict[name] = literal(value)
        return config_dict

    def _load_cmd_line(self) -> dict[str, Any]:
        return self._convert_config_dict(parse_arguments(self._arguments))

    def _merge_external_config_dict(self) -> None:
        super()._merge_external_config_dict()
        self.external_config_dict.pop("config_files", None)  # already read

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, type, str]:
        # Imported late: both stand to the right of this module.
        from recbole_raserec.backbones import backbone_names
        from recbole_raserec.model import RaSeRec

        given = model if model is not None else self.external_config_dict.get("model")
        if given is None:
            raise ConfigError("model", None, "not given", "add --model=RaSeRec")
        name = given if isinstance(given, str) else getattr(given, "__name__", str(given))
        if name in backbone_names():
            mend = f"use --model=RaSeRec --backbone={name}: its own result is reported too"
            raise ConfigError("model", name, "this is a backbone", mend)
        check_known("model", name, MODELS)
        data = dataset if dataset is not None else self.external_config_dict.get("dataset")
        if data is None:
            raise ConfigError("dataset", None, "not given", "add --dataset=ml-100k or your own")
        if not re.fullmatch(r"[\w.+-]+", str(data)) or str(data) in {".", ".."}:
            raise ConfigError("dataset", data, "not a folder name", "put the folder above it in --data_path")
        return name, RaSeRec, str(data)

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        from recbole_raserec.backbones import backbone_names

        folder = properties_folder()
        backbone = self.external_config_dict.get("backbone", DEFAULT_BACKBONE)
        check_known("backbone", backbone, backbone_names())
        super()._load_internal_config_dict(model, model_class, dataset)
        recbole_models = Path(recbole.__file__).parent / "properties" / "model"
        for file in (
            recbole_models / f"{backbone}.yaml",
            folder / "overall.yaml",
            folder / "model" / "DR4SR.yaml",
            folder / "model" / f"{backbone}.yaml",
            folder / "model" / f"{model}.yaml",
            folder / "dataset" / f"{dataset}.yaml",
        ):
            if file.is_file():
                self.internal_config_dict.update(self._load_yaml(file))
        self.internal_config_dict["MODEL_TYPE"] = ModelType.SEQUENTIAL

    def _init_device(self) -> None:
        self.final_config_dict.pop("local_rank", None)  # with one RecBole itself would start a group, on GPUs only
        super()._init_device()
        number, processes = distributed.rank() - self["group_offset"], self["nproc"]
        if number > 0:
            self.final_config_dict.update(state="ERROR", show_progress=False)  # the first one speaks
        if processes > 1 and self["device"].type == "cuda":
            if torch.cuda.device_count() < processes:
                problem = f"{processes} processes need as many GPUs"
                raise ConfigError("gpu_id", self["gpu_id"], problem, f"give {processes} of them, or a smaller nproc")
            self.final_config_dict["device"] = torch.device("cuda", max(number, 0))
            torch.cuda.set_device(self["device"])

    def _get_final_config_dict(self) -> dict[str, Any]:
        known = set(self.internal_config_dict) | _RECBOLE_NAMES
        known.update(name for names in self.parameters.values() for name in names)
        for name, value in self.external_config_dict.items():
            check_known("parameter", name, known, value)
            default = self.internal_config_dict.get(name)
            self.external_config_dict[name] = _check_type(name, value, default)
        final = super()._get_final_config_dict()
        _check_ranges(final)
        _check_protocol(final, set(self.external_config_dict))
        final["regenerate_parts"] = _names("regenerate_parts", final["regenerate_parts"], PARTS)
        final["drift_shares"] = _shares("drift_shares", final["drift_shares"])
        final["memory"] = _names("memory", final["memory"], MEMORY_PARTS)
        if final["regenerate"] is not None:
            check_known("regenerate", final["regenerate"], REGENERATIONS)
        return final


def _check_type(name: str, value: Any, default: Any) -> Any:
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


def _shares(field: str, value: Any) -> list[float]:
    """One number or several, each in (0, 1], ascending."""
    given = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    for share in given:
        if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 < share <= 1:
            raise ConfigError(field, value, "must be shares in (0, 1]", f"for example --{field}=[0.25,0.5,1]")
    return sorted({float(share) for share in given})


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


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
