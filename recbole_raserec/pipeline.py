"""The pipeline: load -> regenerate -> pretrain -> remember -> finetune -> rank -> result, one function per stage."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from recbole_raserec.config.config import Config
from recbole_raserec.data.dataset import SequenceDataset, load_dataset
from recbole_raserec.errors import DataError, RaSeRecError
from recbole_raserec.regeneration.personalized import PersonalizedTrainer
from recbole_raserec.regeneration.stage import regenerated
from recbole_raserec.reporting.build import build_result
from recbole_raserec.reporting.portrait import portrait
from recbole_raserec.reporting.result import Result, write_result
from recbole_raserec.reporting.text import format_result
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.files import check_files
from recbole_raserec.runtime.progress import timed
from recbole_raserec.runtime.ray import connected
from recbole_raserec.runtime.recbole_faults import init_logger, quieten
from recbole_raserec.training.backbone import MakeTrainer, backbone_trainer, pretrain
from recbole_raserec.training.build import build_model, check_model
from recbole_raserec.training.finetune import finetune
from recbole_raserec.training.model_file import save_model
from recbole_raserec.training.rank import rank, rank_drift
from recbole_raserec.training.remember import BankSettings, Reader, remember


def run(
    model: str | None = "RaSeRec",
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Result | None:
    """Pre-train a backbone, build its memory bank, fine-tune and evaluate. Return and write the result.

    The parameters are those of :class:`~recbole_raserec.config.config.Config`. Machines but the first get None.

    Raises
    ------
    ConfigError, DataError : the input is wrong; raised before any training.
    """
    quieten()
    sources = (model, dataset, config_file_list, config_dict, arguments)
    config = Config(*sources)
    check_files(config.final_config_dict)
    place = processes.place(config["nproc"], config["world_size"], config["group_offset"], config["ip"], config["port"])
    if place.world_size > processes.size():
        processes.check_port(place)
        # Errors in the data are raised here, and the processes find the generated rows on disk. Machines may share it.
        load(config.changed(resume=True) if place.world_size > config["nproc"] else config)
        return processes.run_together(run, sources, place, RaSeRecError)
    init_logger(config)
    logging.getLogger().info(config)
    for name, why in config.idle.items():
        logging.getLogger().warning(f"{name}={config[name]} changes nothing: {why}")
    seconds: dict[str, float] = {}
    with connected(config["ray_address"] if processes.size() == 1 else None):
        data, manifest = load(config, seconds)
        raserec = build_model(config, data)
        reader = Reader.of(config, raserec)
        with timed(seconds, "pretrain"):
            pretrained = pretrain(config, raserec, data, trainer_maker(config))
        with timed(seconds, "memory"):
            remembered = remember(reader, data.sequences, BankSettings.of(config))
            memory = remembered.memory
        with timed(seconds, "finetune"):
            finetuned = finetune(config, raserec, data.sha256, remembered)
        del remembered  # the searched parts are as large as the memory
        with timed(seconds, "evaluate"):
            ranked = rank(reader, data.sequences, memory, config["memory_include_valid"], config["eval_batch_size"])
        drift = {}
        if config["drift_shares"]:
            with timed(seconds, "drift"):
                drift = rank_drift(reader, memory, ranked.queries, config["drift_shares"], config["eval_batch_size"])
        raserec.remember(ranked.memory)  # for RecBole's own calls
        shown = portrait(raserec, ranked, data, config["seed"]) if config["portrait"] else None
    if processes.rank() > 0:
        return None
    model_file = save_model(config, raserec, ranked.memory, data)
    result = build_result(config, data, pretrained, finetuned, ranked, drift, shown, manifest, seconds, model_file)
    print(format_result(result))  # before writing, so it is not lost if the disk is full by now
    if config["result_file"]:
        write_result(config["result_file"], result)
    return result


def load(config: Config, seconds: dict[str, float] | None = None) -> tuple[SequenceDataset, dict[str, Any] | None]:
    """The data set, regenerated if the configuration says so, and the manifest of its generated rows."""
    seconds = {} if seconds is None else seconds
    with timed(seconds, "load"):
        data = load_dataset(config)
    data, manifest = with_generated(config, data, seconds)
    if len(set(processes.gather(np.array([data.source])))) > 1:
        problem = "its files, or its generated rows, differ between the machines"
        mend = "give each machine the same files, and with --regenerate a checkpoint_dir that they share"
        raise DataError("dataset", config["dataset"], problem, mend)
    return data, manifest


def with_generated(
    config: Config, data: SequenceDataset, seconds: dict[str, float] | None = None
) -> tuple[SequenceDataset, dict[str, Any] | None]:
    """The data set with its generated rows and their manifest; without ``regenerate`` the data set itself and None."""
    if config["regenerate"] is None:
        return data, None
    check_model(config, data)  # so that the regenerator is not trained in vain
    with timed({} if seconds is None else seconds, "regenerate"):
        return regenerated(config, data)


def trainer_maker(config: Config) -> MakeTrainer:
    """The function that creates the backbone's trainer. DR4SR+ has its own trainer."""
    return PersonalizedTrainer if config["regenerate"] == "DR4SR+" else backbone_trainer
