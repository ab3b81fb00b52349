"""The corridor: config -> data -> backbone -> memory -> augmentation -> evaluation, one function a stage."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole.utils import init_logger, init_seed

from recbole_raserec.config import Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.files import check_writable
from recbole_raserec.model import RaSeRec
from recbole_raserec.result import build_result, format_result, write_result
from recbole_raserec.training import checkpoints
from recbole_raserec.training.trainer import RaSeRecTrainer, finetune_source
from recbole_raserec.upstream import quieten

_RESULT_MIB = 0.1
_LOG_MIB = 8  # a run's log and TensorBoard files, generously


def run(
    model: str | None = "RaSeRec",
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Pre-train a backbone, build its memory, fine-tune, evaluate; return and write the result.

    The parameters are those of :class:`~recbole_raserec.config.Config`.

    Returns
    -------
    The result as :func:`~recbole_raserec.result.build_result` describes it.

    Raises
    ------
    ConfigError, DataError : before any training.
    """
    quieten()
    config = Config(model, dataset, config_file_list, config_dict, arguments)
    check_outputs(config)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logging.getLogger().info(config)

    start = perf_counter()
    data = load_dataset(config)
    seconds = {"load": perf_counter() - start}

    trainer = train(config, data)
    ranks = trainer.test()
    seconds.update(trainer.seconds)
    save_model(config, trainer)

    result = build_result(config, data, trainer.valid, ranks, seconds, trainer.curves)
    print(format_result(result))  # first: it must not be lost should the disk have filled up meanwhile
    if config["result_file"]:
        write_result(config["result_file"], result)
    return result


def check_outputs(config: Config) -> None:
    """Raise ConfigError now, not after hours, where the run could not write."""
    check_writable("the working folder", Path("log"), _LOG_MIB)
    check_writable("checkpoint_dir", config["checkpoint_dir"])
    if config["result_file"]:
        check_writable("result_file", Path(config["result_file"]).resolve().parent, _RESULT_MIB)


def load_dataset(config: Config) -> SequenceDataset:
    """Stage one: the interactions as flat sequences."""
    dataset = SequenceDataset(config)
    dataset.build()
    logging.getLogger().info(dataset)
    return dataset


def train(config: Config, dataset: SequenceDataset) -> RaSeRecTrainer:
    """Stages two and three."""
    model = RaSeRec(config, dataset).to(config["device"])
    check_writable("checkpoint_dir", config["checkpoint_dir"], _checkpoint_mib(model, dataset))
    trainer = RaSeRecTrainer(config, model, dataset)
    trainer.fit()
    return trainer


def save_model(config: Config, trainer: RaSeRecTrainer) -> Path:
    """Write model, memory and item names in one file that needs neither the data set nor pickle."""
    memory, dataset = trainer.memory, trainer.dataset
    name = checkpoints.fingerprint(config.plain(), finetune_source(trainer.model, dataset.sha256), "finetune")
    path = Path(config["checkpoint_dir"]) / f"{config['dataset']}-{config['model']}-{config['backbone']}-{name}.pth"
    checkpoints.save(
        path,
        {
            "stage": "raserec",
            "config": config.plain(),
            "data_sha256": dataset.sha256,
            "state_dict": trainer.model.state_dict(),
            "memory": memory.tensors(),
            "item_tokens": [str(token) for token in dataset.field2id_token[dataset.iid_field]],
        },
    )
    logging.getLogger().info(f"model and memory: {path}")
    return path


def _checkpoint_mib(model: RaSeRec, dataset: SequenceDataset) -> float:
    """Space of the checkpoints: best, last (with Adam's two moments) and final, and the memory."""
    weights = sum(p.numel() for p in model.parameters())
    memory = len(dataset.sequences.items) * (model.item_vectors.shape[1] + 4)
    return 4 * (5 * weights + memory) / 2**20 + 1
