"""The corridor: config -> data -> backbone -> memory -> augmentation -> evaluation, one function a stage."""

from __future__ import annotations

import logging
import pickle
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_raserec.config.checks import REGENERATIONS
from recbole_raserec.config.config import MODELS, Config
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.errors import ConfigError, RaSeRecError
from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.significance import Resampling
from recbole_raserec.model import RaSeRec
from recbole_raserec.nn.softmax import negatives_for
from recbole_raserec.regeneration.dataset import RegeneratedDataset
from recbole_raserec.regeneration.export import MANIFEST, export
from recbole_raserec.regeneration.personalized import PersonalizedTrainer
from recbole_raserec.regeneration.stage import Regeneration
from recbole_raserec.reporting.build import build_result
from recbole_raserec.reporting.portrait import portrait
from recbole_raserec.reporting.result import Result, headline_memory, write_result
from recbole_raserec.reporting.text import format_manifest, format_result
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.files import check_writable
from recbole_raserec.runtime.machine import peak_rss_mib, versions
from recbole_raserec.runtime.progress import bar, timed
from recbole_raserec.runtime.ray import connected
from recbole_raserec.runtime.recbole_faults import init_logger, quieten
from recbole_raserec.training import checkpoints
from recbole_raserec.training.backbone import BackboneTrainer
from recbole_raserec.training.trainer import RaSeRecTrainer, finetune_source

_RESULT_MIB = 0.1
_LOG_MIB = 8  # a run's log and TensorBoard files, generously


def run(
    model: str | None = "RaSeRec",
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Result | None:
    """Pre-train a backbone, build its memory, fine-tune, evaluate; return and write the result.

    The parameters are those of :class:`~recbole_raserec.config.config.Config`.

    Returns
    -------
    The result; None on machines other than the first.

    Raises
    ------
    ConfigError, DataError : before any training.
    """
    quieten()
    config = Config(model, dataset, config_file_list, config_dict, arguments)
    if processes_of(config) > processes.size():
        return _run_together(config, (model, dataset, config_file_list, config_dict, arguments))
    check_outputs(config)
    init_logger(config)
    logging.getLogger().info(config)

    seconds: dict[str, float] = {}
    with timed(seconds, "load"):
        data = load_dataset(config)
    manifest: dict[str, Any] | None = None
    with connected(config["ray_address"] if processes.size() == 1 else None):
        if config["regenerate"] is not None:
            with timed(seconds, "regenerate"):
                data, manifest = regenerated(config, data)
        trainer = train(config, data)
        ranks = trainer.test()
        drift = trainer.drift() if config["drift_shares"] else {}
        headline = headline_memory(config["memory_include_valid"])
        shown = portrait(trainer, ranks, headline) if config["portrait"] else None
    seconds.update(trainer.seconds)
    if processes.rank() > 0:
        return None
    save_model(config, trainer)

    mixture = {**asdict(trainer.model.mixture), "tried": trainer.mixtures} if any(config["mixture_weight"]) else None
    result = build_result(
        dataset=data,
        model=config["model"],
        backbone=config["backbone"],
        headline=headline,
        ranks=ranks,
        valid=trainer.valid,
        metrics=Metrics.of(config),
        resampling=Resampling.of(config),
        seconds=seconds,
        curves=trainer.curves,
        losses=trainer.losses,
        config=config.plain(),
        device=str(config["device"]),
        seed=config["seed"],
        mixture=mixture,
        portrait=shown,
        drift=drift,
        regeneration=manifest,
    )
    print(format_result(result))  # first: it must not be lost should the disk have filled up meanwhile
    if config["result_file"]:
        write_result(config["result_file"], result)
    return result


def processes_of(config: Config) -> int:
    """Number of processes on all machines."""
    return config["nproc"] if config["world_size"] == -1 else config["world_size"]


def _run_together(config: Config, sources: tuple[Any, ...]) -> Result | None:
    """:func:`run` in ``nproc`` processes of this machine; what goes wrong before training does so here."""
    check_outputs(config)
    data = load_dataset(config)
    if config["regenerate"] is not None:
        regenerated(config, data)  # once; the processes find its rows
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        place = (config["group_offset"], processes_of(config), f"tcp://{config['ip']}:{config['port']}")
        threads = max(torch.get_num_threads() // config["nproc"], 1)
        try:
            torch.multiprocessing.spawn(_process, (place, threads, sources, answer), nprocs=config["nproc"])
        except (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException):
            if not answer.is_file():
                raise
        outcome = pickle.loads(answer.read_bytes()) if answer.is_file() else None
    if isinstance(outcome, RaSeRecError):
        raise outcome
    return outcome


def _process(local: int, place: tuple[int, int, str], threads: int, sources: tuple[Any, ...], answer: Path) -> None:
    """Process number ``local`` of this machine; the first one's result, or a user's error, goes to ``answer``."""
    offset, world_size, address = place
    torch.set_num_threads(threads)
    processes.join(offset + local, world_size, address)
    try:
        result = run(*sources)
    except RaSeRecError as error:
        answer.write_bytes(pickle.dumps(error))
        raise
    if processes.rank() == 0:
        answer.write_bytes(pickle.dumps(result))
    processes.leave()


def regenerate(
    output: str,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Path:
    """Stage one alone: write the regenerated data set ``output`` beside ``dataset``, for stock RecBole.

    The other parameters are those of :class:`~recbole_raserec.config.config.Config`.

    Returns
    -------
    Path of the manifest in the folder ``data_path/output``.

    Raises
    ------
    ConfigError, DataError : before any training.
    """
    quieten()
    begin = perf_counter()
    config = Config(MODELS[0], dataset, config_file_list, config_dict, arguments)
    config["regenerate"] = config["regenerate"] or REGENERATIONS[0]
    folder = Path(config["data_path"]).parent / output
    check_output(config, output, folder)
    check_outputs(config)
    init_logger(config)
    data, manifest = regenerated(config, load_dataset(config))
    made = {"name": output, "source": config["dataset"], **manifest, "versions": versions()}
    path = export(data, folder, made, bar("write", bool(config["show_progress"])))
    print(format_manifest(made))
    print(f"wrote {folder} in {perf_counter() - begin:.0f} s; peak memory {peak_rss_mib():.0f} MiB")
    return path


def check_output(config: Config, output: str, folder: Path) -> None:
    """Raise ConfigError where ``output`` is no name, or would overwrite a data set that regeneration did not write."""
    if not re.fullmatch(r"[\w.+-]+", output) or set(output) <= {"."}:
        raise ConfigError("output", output, "not a folder name", "the folder above it is that of --dataset")
    if output == config["dataset"]:
        raise ConfigError("output", output, "this is the source", f"for example --output={output}-dr")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        problem = f"{folder} exists and was not written by regenerate"
        raise ConfigError("output", output, problem, "give another name")
    check_writable("output", folder)


def regenerated(config: Config, data: SequenceDataset) -> tuple[RegeneratedDataset, dict[str, Any]]:
    """The data set with its generated rows, and the manifest of those."""
    if config["regenerate"] == "DR4SR+" and negatives_for(config["softmax_negatives"], data.item_num):
        problem = "its weights are learned through the full softmax, and here it is sampled"
        raise ConfigError("regenerate", "DR4SR+", problem, "use DR4SR, or give --softmax_negatives=0")
    made = Regeneration(config, data).run()
    logging.getLogger().info(f"regenerated: {made.manifest['counts']}")
    dataset = RegeneratedDataset(config, made.rows)
    dataset.build()
    return dataset, made.manifest


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
    trainer = build_trainer(config, dataset)
    trainer.fit()
    return trainer


def build_trainer(config: Config, dataset: SequenceDataset) -> RaSeRecTrainer:
    """A new model and its trainer, seeded."""
    init_seed(config["seed"], config["reproducibility"])  # here: regeneration, or finding its rows, comes before
    model = RaSeRec(config, dataset).to(config["device"])
    check_writable("checkpoint_dir", config["checkpoint_dir"], _checkpoint_mib(model, dataset))
    packed = PersonalizedTrainer if config["regenerate"] == "DR4SR+" else BackboneTrainer
    return RaSeRecTrainer(config, model, dataset, packed)


def save_model(config: Config, trainer: RaSeRecTrainer) -> Path:
    """Write model, memory and item names in one file that needs neither the data set nor pickle."""
    memory, dataset = trainer.memory, trainer.dataset
    name = checkpoints.fingerprint(config.plain(), finetune_source(trainer.model, dataset.sha256), "raserec")
    path = Path(config["checkpoint_dir"]) / f"{config['dataset']}-{config['model']}-{config['backbone']}-{name}.pth"
    checkpoints.save(
        path,
        {
            "stage": "raserec",
            "config": config.plain(),
            "data_sha256": dataset.sha256,
            "state_dict": trainer.model.state_dict(),
            "memory": memory.tensors(),
            "mixture": asdict(trainer.model.mixture),
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
