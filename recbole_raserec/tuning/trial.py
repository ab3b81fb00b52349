"""One trial: train and validate the configuration at one point of the space. The test part is never ranked."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_raserec.config.checks import check_one_process
from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.model import RaSeRec
from recbole_raserec.pipeline import trainer_maker, with_generated
from recbole_raserec.runtime.recbole_faults import quieten
from recbole_raserec.training.backbone import Pretrained, pretrain
from recbole_raserec.training.build import build_model
from recbole_raserec.training.course import OnEpoch
from recbole_raserec.training.finetune import finetune
from recbole_raserec.training.remember import BankSettings, Reader, Remembered, remember
from recbole_raserec.tuning.ledger import point_key


@dataclass(frozen=True)
class Sources:
    """The sources of a configuration: the arguments of :class:`~recbole_raserec.config.config.Config`."""

    model: str | None
    dataset: str | None
    files: tuple[str, ...]
    values: dict[str, Any]
    arguments: tuple[str, ...]

    def config(self, point: dict[str, Any]) -> Config:
        """The configuration with the values of ``point``. No other source may set these parameters."""
        words = [*self.arguments, *(f"--{name}={value!r}" for name, value in point.items())]
        config = Config(self.model, self.dataset, self.files, self.values, words)
        check_one_process(
            config.final_config_dict, "a trial has one process; --ray_address spreads trials over machines"
        )
        return config

    def on_gpus(self, gpus: str | None) -> Sources:
        """These sources with ``gpus``, which Ray gave to the trial; RecBole would take the driver's. None: as here."""
        if not gpus:
            return self
        words = tuple(word for word in self.arguments if not word.startswith("--gpu_id="))
        return replace(self, values={**self.values, "gpu_id": gpus}, arguments=words)


@dataclass(frozen=True)
class Start:
    """Everything that fine-tuning starts from. Trials that differ only in stage three share one.

    Attributes
    ----------
    backbone : trained weights of the backbone, on the CPU.
    """

    backbone: dict[str, Tensor]
    pretrained: Pretrained
    remembered: Remembered

    @classmethod
    def made(cls, config: Config, model: RaSeRec, data: SequenceDataset, on_epoch: OnEpoch | None = None) -> Start:
        """Pre-train the model's backbone, fill a memory bank and search it."""
        pretrained = pretrain(config, model, data, trainer_maker(config), on_epoch)
        remembered = remember(Reader.of(config, model), data.sequences, BankSettings.of(config))
        weights = {name: value.cpu() for name, value in model.backbone.state_dict().items()}
        return cls(weights, pretrained, remembered)


@dataclass(frozen=True)
class Shared:
    """The data that every trial reads. Ray's object store holds one copy on each node."""

    sources: Sources
    data: SequenceDataset
    start: Start | None
    working_folder: Path
    threads: int
    known: dict[str, dict[str, Any]]


def run_trial(point: dict[str, Any], shared: Shared) -> None:
    """Train and validate at ``point``. Report the best score so far after each validation, and RaSeRec's at the end."""
    known = shared.known.get(point_key(point))
    if known is not None:
        _report(known)
        return
    quieten()
    if shared.working_folder.is_dir():
        os.chdir(shared.working_folder)  # Ray changed the folder; relative paths need the driver's
    torch.set_num_threads(shared.threads)
    sources = shared.sources.on_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    config = sources.config(with_whole_numbers(point, sources.config({}))).changed(show_progress=False)
    data = shared.data if shared.start is not None else with_generated(config, shared.data)[0]
    model = build_model(config, data)
    seen: list[float] = []

    def after_epoch(stage: str, score: float) -> None:
        seen.append(score)
        _report({"score": max(seen), "stage": stage, "validations": len(seen)})

    start = shared.start or Start.made(config, model, data, after_epoch)
    model.backbone.load_state_dict(start.backbone)
    valid = finetune(config, model, data.sha256, start.remembered, after_epoch).valid
    metric = config["valid_metric"].lower()
    backbone = start.pretrained.valid[metric]
    _report({"score": valid[metric], "validations": len(seen), "finished": True, "backbone": backbone, "valid": valid})


def _report(metrics: dict[str, Any]) -> None:
    from ray import tune

    if hasattr(tune, "RunConfig"):
        tune.report(metrics)
    else:
        from ray.air import session

        session.report(metrics)


def with_whole_numbers(point: dict[str, Any], config: Config) -> dict[str, Any]:
    """``point`` with ints for the parameters that are ints, because samplers return floats."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() and is_whole(config, name) else value
        for name, value in point.items()
    }


def is_whole(config: Config, name: str) -> bool:
    """Whether a parameter is a whole number."""
    value = config.final_config_dict.get(name)
    return isinstance(value, int) and not isinstance(value, bool)
