"""Checkpoints of tensors and plain types: they load with ``weights_only=True`` and without the data set."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.files import replacing

FORMAT = 1

# Parameters that change neither weights nor figures, so two runs that differ in them are the same run.
_INCIDENTAL = {
    "checkpoint_dir", "config_files", "data_path", "device", "eval_batch_size", "gpu_id", "log_wandb",
    "pretrained", "result_file", "resume", "show_progress", "state", "use_gpu", "wandb_project",
    "bootstrap_samples", "drift_shares", "portrait", "memory_include_valid", "regenerator_pretrained",
    "preset", "ray_address", "nproc", "world_size", "group_offset", "ip", "port", "local_rank", "offset",
    "single_spec",
}  # fmt: skip
# Parameters of stage three, on which a backbone does not depend.
_STAGE_THREE = {"top_k", "alpha", "beta", "attn_tau", "memory"}
_STAGE_THREE_PREFIXES = ("finetune_", "cross_", "index_", "mixture_")

# Parameters of regeneration, which say nothing where nothing is regenerated ...
_REGENERATION_PREFIXES = ("regenerat", "pattern_", "decode_", "personalize_")
# ... and those of later stages, on which the generated rows do not depend.
_AFTER_ROWS = {"epochs", "stopping_step", "regenerate", "regenerate_parts", "pattern_weight", "decode_weight"}

# What must agree for one model's weights to mean the same in another.
_ARCHITECTURE = (
    "backbone", "hidden_size", "n_layers", "n_heads", "inner_size", "hidden_act", "MAX_ITEM_LIST_LENGTH", "score_tau",
    "average_weight",
)  # fmt: skip


def fingerprint(config: dict[str, Any], source: str, stage: str) -> str:
    """Ten hex digits that name a run of ``stage`` by what its figures depend on.

    ``source`` says what it starts from: the data's SHA-256, and for fine-tuning the backbone's weights.
    """
    text = json.dumps([source, stage, relevant(config, stage)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def relevant(config: dict[str, Any], stage: str) -> dict[str, Any]:
    """The parameters that the figures of ``stage`` ("regenerate", "pretrain", "finetune", "raserec") depend on."""
    kept = {name: value for name, value in config.items() if name not in _INCIDENTAL}
    if stage != "raserec":  # the mixture needs no training
        kept = {name: value for name, value in kept.items() if not name.startswith("mixture_")}
    if stage not in ("finetune", "raserec"):
        kept = {n: v for n, v in kept.items() if n not in _STAGE_THREE and not n.startswith(_STAGE_THREE_PREFIXES)}
    if stage == "regenerate":
        kept = {
            name: value
            for name, value in kept.items()
            if name not in _AFTER_ROWS and not name.startswith("personalize_")
        }
        kept["decodes"] = "decoded" in config["regenerate_parts"]
    elif config.get("regenerate") is None:
        kept = {name: value for name, value in kept.items() if not name.startswith(_REGENERATION_PREFIXES)}
    return kept


def is_stage_three(name: str) -> bool:
    """Whether only fine-tuning depends on this parameter."""
    return name in _STAGE_THREE or name.startswith(_STAGE_THREE_PREFIXES)


def weights_digest(state_dict: dict[str, torch.Tensor]) -> str:
    """SHA-256 of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` atomically."""
    with replacing(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load(path: str | Path, device: Any, field: str = "pretrained") -> dict[str, Any]:
    """Read a checkpoint; ConfigError when it is none of ours. Nothing in it is executed."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(field, str(path), "there is no such file", "give the path of a checkpoint") from error
    except Exception as error:  # a damaged file can make torch raise almost anything
        problem = "not a checkpoint of tensors and plain types (RecBole's own hold a pickled Config)"
        raise ConfigError(field, str(path), problem, "give one that this package wrote") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ConfigError(field, str(path), "not a checkpoint of this package", "give one that it wrote")
    return state


def check_fits(state: dict[str, Any], config: dict[str, Any], data_sha256: str, path: str) -> None:
    """Raise ConfigError unless it is a backbone's best epoch, of the configured architecture and data."""
    if state["stage"] != "pretrain" or "valid" not in state:
        held = "the last epoch of a run" if "optimizer" in state else f"stage {state['stage']}"
        mend = "give the file *-pretrain-*.pth without .last"
        raise ConfigError("pretrained", path, f"it holds {held}, not a trained backbone", mend)
    for name in (*_ARCHITECTURE, *(("average_window",) if config.get("average_weight") else ())):
        theirs, ours = (settings.get(name) or 0 for settings in (state["config"], config))  # old files lack the newest
        if theirs != ours:
            problem = f"it was trained with {name}={theirs}, and this run has {name}={ours}"
            raise ConfigError("pretrained", path, problem, f"give --{name}={theirs}, or another checkpoint")
    if state["data_sha256"] != data_sha256:
        problem = f"it was trained on other data (SHA-256 {state['data_sha256'][:12]}..., here {data_sha256[:12]}...)"
        raise ConfigError("pretrained", path, problem, "pre-train on this data set")


def restore_backbone(backbone: nn.Module, path: str, config: Any, data_sha256: str) -> dict[str, float]:
    """Load a trained backbone's weights from ``path``; its validation metrics."""
    state = load(path, config["device"])
    check_fits(state, config.plain(), data_sha256, path)
    backbone.load_state_dict(state["state_dict"])
    return state["valid"]
