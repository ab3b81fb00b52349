"""Checkpoints of tensors and plain types. They load with ``weights_only=True`` and without the data set."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recbole_raserec.backbones.protocol import Module
from recbole_raserec.config.idle import MINED
from recbole_raserec.config.parameters import NEWER, PARAMETERS, affects, is_of
from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.files import before, writing
from recbole_raserec.training import sealed

if TYPE_CHECKING:  # RecBole's Config imports for a second what a trained model does not need
    from recbole_raserec.config.config import Config

FORMAT = 1
_NO_MEMORY = "can't allocate memory"  # of torch's RuntimeError for a CPU


class UnreadableNow(ConfigError):
    """The file may be good, but this machine cannot read it now: no memory, no permission, a fault of the disk."""


# A stage depends on the parameters whose ``affects`` (see ``rows.AFFECTS``) is one of these.
_BACKBONE = ("rows", "backbone")
_FINETUNE = (*_BACKBONE, "memory", "finetune")
_READ = {"regenerate": ("rows",), "pretrain": _BACKBONE, "finetune": _FINETUNE, "raserec": (*_FINETUNE, "mixture")}


def fingerprint(config: dict[str, Any], source: str, stage: str) -> str:
    """Ten hex digits that identify a run of ``stage`` by everything that its figures depend on.

    ``source`` identifies the input of the stage: the data's SHA-256, and for fine-tuning also the backbone's weights.
    """
    text = json.dumps([source, stage, relevant(config, stage)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def relevant(config: dict[str, Any], stage: str) -> dict[str, Any]:
    """The parameters that the figures of ``stage`` ("regenerate", "pretrain", "finetune", "raserec") depend on."""
    kept = {
        name: value
        for name, value in config.items()
        if affects(name) in _READ[stage] and not (name in NEWER and value == NEWER[name])
    }
    if "split" not in kept:
        kept.pop("time_shares", None)  # leave-one-out does not read it
    if stage == "regenerate":
        kept["decodes"] = "decoded" in config["regenerate_parts"]
    elif config.get("regenerate") is None:
        mined = MINED if stage in ("finetune", "raserec") and "patterns" in config.get("memory", ()) else ()
        kept = {name: value for name, value in kept.items() if name in mined or not is_of(name, "regeneration")}
    if stage == "raserec" and config.get("memory_include_valid"):
        kept["memory_include_valid"] = True  # it changes no figure, but the file holds this memory
    return kept


def is_stage_three(name: str) -> bool:
    """Whether a parameter affects only stage three (the memory, fine-tuning and the mixture)."""
    return affects(name) in _READ["raserec"] and affects(name) not in _READ["pretrain"]


def weights_digest(state_dict: dict[str, torch.Tensor]) -> str:
    """SHA-256 of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def file_digest(path: str | None) -> str:
    """SHA-256 of an existing file. For a missing file it is empty; the error comes when the checkpoint is read."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path and Path(path).is_file() else ""


def finetune_source(backbone: Module, data_sha256: str) -> str:
    """Identifier of the input of fine-tuning: the data and the backbone's weights."""
    return f"{data_sha256} {weights_digest(backbone.state_dict())}"


def save(path: Path, state: dict[str, Any], keep: bool = False) -> None:
    """Write ``state`` atomically and durably, with a checksum. With ``keep``, the checkpoint before stays beside it."""
    with writing(path, keep, "checkpoint_dir") as file:
        sealed.save({"format": FORMAT, **state}, file)


def load(path: str | Path, device: Any, field: str = "pretrained") -> dict[str, Any]:
    """Read a checkpoint. Nothing in it is executed.

    Raises
    ------
    UnreadableNow : the machine cannot read the file, which may be good.
    ConfigError : it is missing, damaged or not of this package.
    """
    try:
        state = sealed.load(Path(path), device)
    except FileNotFoundError as error:
        raise ConfigError(field, str(path), "there is no such file", "give the path of a checkpoint") from error
    except sealed.Damaged as error:
        raise ConfigError(field, str(path), str(error), "copy it again, or train again") from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise UnreadableNow(field, str(path), problem, "make it readable, or give another file") from error
    except Exception as error:  # torch raises almost any error for a damaged file
        if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or _NO_MEMORY in str(error):
            problem = f"there is not enough memory on {device} to read it"
            raise UnreadableNow(field, str(path), problem, "free some and run the command again") from error
        problem = "not a checkpoint of tensors and plain types (RecBole's own hold a pickled Config)"
        raise ConfigError(field, str(path), problem, "give one that this package wrote") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ConfigError(field, str(path), "not a checkpoint of this package", "give one that it wrote")
    return state


def candidates(path: Path, device: Any) -> Iterator[dict[str, Any]]:
    """The good ones of a checkpoint and the one before it, the latest first. The log names a refused one.

    Raises
    ------
    UnreadableNow : one of them cannot be read now. To begin again would overwrite it.
    """
    for place in (path, before(path)):
        if place.is_file():
            try:
                yield load(place, device, "resume")
            except UnreadableNow as error:
                mend = "mend that, or remove the file: then the one before it is taken, or its stage begins again"
                raise UnreadableNow("resume", str(place), error.problem, mend) from error
            except ConfigError as error:
                logging.getLogger().warning(f"refused: {error}")


def last_good(path: Path, best: Path | None, device: Any) -> dict[str, Any] | None:
    """The latest state of a stage that is whole, and whose best epoch is there too or will be trained again.

    Parameters
    ----------
    path : of the last epoch.
    best : of the best epoch; None if the stage has none.
    """
    for last in candidates(path, device):
        valid = last["best_valid_result"]
        if best is None or valid is None or best_of(best, valid, device, None if last["finished"] else last["epoch"]):
            return last
    if path.is_file():
        logging.getLogger().warning(f"{path}: neither it nor the one before can be used, so its stage begins again")
    return None


def best_of(path: Path, valid: dict[str, float] | None, device: Any, last: int | None = None) -> dict[str, Any] | None:
    """The best epoch with these validation metrics. With ``last``, also one of a later epoch."""
    for best in candidates(path, device):
        if best["valid"] == valid or (last is not None and best["epoch"] > last):
            return best
    return None


def check_fits(state: dict[str, Any], config: dict[str, Any], data_sha256: str, path: str, field: str) -> None:
    """Raise ConfigError unless ``state`` is a backbone's best epoch, with the configured architecture and data."""
    if state["stage"] != "pretrain" or "valid" not in state:
        held = "the last epoch of a run" if "optimizer" in state else f"stage {state['stage']}"
        mend = "give the file *-pretrain-*.pth without .last"
        raise ConfigError(field, path, f"it holds {held}, not a trained backbone", mend)
    names = [name for name, row in PARAMETERS.items() if row.architecture]
    if not config.get("average_weight"):
        names = [name for name in names if name not in ("average_window", "average_form")]
    for name in names:  # old files lack new ones
        theirs, ours = (settings.get(name, NEWER.get(name)) or 0 for settings in (state["config"], config))
        if theirs != ours:
            problem = f"it was trained with {name}={theirs}, and this run has {name}={ours}"
            raise ConfigError(field, path, problem, f"give --{name}={theirs}, or another checkpoint")
    for name in ("split", "time_shares"):
        theirs, ours = (relevant(each, "pretrain").get(name, NEWER[name]) for each in (state["config"], config))
        if theirs != ours:
            problem = f"it was trained with {name}={theirs}, so it may have seen what is to be predicted"
            raise ConfigError(field, path, problem, f"give one that was trained with {name}={ours}")
    if state["data_sha256"] != data_sha256:
        problem = f"it was trained on other data (SHA-256 {state['data_sha256'][:12]}..., here {data_sha256[:12]}...)"
        raise ConfigError(field, path, problem, "pre-train on this data set")


def restore_backbone(backbone: nn.Module, field: str, config: Config, data_sha256: str) -> dict[str, Any]:
    """Load the weights from the checkpoint that parameter ``field`` names. Return its state."""
    path = config[field]
    state = load(path, config["device"], field)
    check_fits(state, config.plain(), data_sha256, path, field)
    try:
        backbone.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        problem = f"its weights are of another backbone ({' '.join(str(error).split())[:200]})"
        raise ConfigError(field, path, problem, "give the parameters that it was trained with") from error
    return state
