"""This package's way through each stage, timed. Every function returns (seconds of each repeat, share measured)."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any, Callable

import numpy as np
import torch

from recbole_raserec import Config, MemoryBank, RaSeRec, SequenceDataset
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.evaluation.ranking import rank_targets
from recbole_raserec.training.trainer import BackboneTrainer, FinetuneTrainer, Queries

LARGE_STEPS = 20
Timing = tuple[list[float], float]


def load(data_path: Path, name: str) -> tuple[Config, SequenceDataset]:
    """Configuration and data set, read but not yet built."""
    config = Config("RaSeRec", name, config_dict={"data_path": str(data_path), "show_progress": False})
    torch.manual_seed(config["seed"])
    return config, SequenceDataset(config)


def repeat(work: Callable[[], Any], times: int) -> list[float]:
    """Wall seconds of each of ``times`` calls."""
    seconds = []
    for _ in range(times):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return seconds


def sequence_building(data_path: Path, name: str, repeats: int) -> Timing:
    """Loaded interactions -> training, validation and test parts."""
    seconds = []
    for _ in range(repeats):
        dataset = load(data_path, name)[1]
        seconds += repeat(dataset.build, 1)
    return seconds, 1.0


def _model(data_path: Path, name: str) -> tuple[Config, SequenceDataset, RaSeRec]:
    config, dataset = load(data_path, name)
    dataset.build()
    return config, dataset, RaSeRec(config, dataset)


def sasrec_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """One epoch of packed SASRec, optimiser included."""
    config, dataset, model = _model(data_path, name)
    trainer = BackboneTrainer(config, model, dataset)
    epochs = iter(range(repeats))
    return repeat(lambda: trainer._train_epoch(None, next(epochs)), repeats), 1.0


def memory_encoding(data_path: Path, name: str, repeats: int) -> Timing:
    """The vector of every training prefix."""
    config, dataset, model = _model(data_path, name)
    part = dataset.sequences.train_part()
    return repeat(lambda: encode_prefixes(model.backbone, part, model.max_seq_length, config["device"]), repeats), 1.0


def _random_memory(dataset: SequenceDataset) -> MemoryBank:
    part = dataset.sequences.train_part()
    keys = np.random.default_rng(0).normal(size=(len(part), 64)).astype(np.float32)
    return MemoryBank(keys, part.targets, part.users, part.lengths)


def neighbour_search(data_path: Path, name: str, repeats: int) -> Timing:
    """The 20 nearest memories of every training prefix, leaks excluded, index included."""
    _, dataset, _ = _model(data_path, name)
    memory = _random_memory(dataset)

    def search() -> None:
        memory._index = None
        memory.search(memory.keys, memory.owners, memory.lengths, 20)

    return repeat(search, repeats), 1.0


def finetune_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """One epoch over cached queries and neighbours."""
    config, dataset, model = _model(data_path, name)
    memory = _random_memory(dataset)
    model.use_memory(memory)
    neighbours = torch.randint(len(memory), (len(memory), 20), dtype=torch.int32)
    queries = Queries(dataset.sequences.train_part(), torch.from_numpy(memory.keys), neighbours)
    trainer = FinetuneTrainer(config, model, dataset.sha256, queries)
    epochs = iter(range(repeats))
    return repeat(lambda: trainer._train_epoch(None, next(epochs)), repeats), 1.0


def evaluation(data_path: Path, name: str, repeats: int) -> Timing:
    """Encode and rank every test user in full, both protocols."""
    config, dataset, model = _model(data_path, name)
    part = dataset.sequences.test_part()

    def evaluate() -> None:
        vectors = encode_prefixes(model.backbone, part, model.max_seq_length, config["device"])
        rank_targets(lambda rows: torch.from_numpy(vectors[rows]), model.item_vectors, part, config["eval_batch_size"])

    return repeat(evaluate, repeats), 1.0


def large_catalogue(data_path: Path, name: str, repeats: int) -> Timing:
    """Steps of a SASRec epoch over a million items: the softmax is sampled."""
    config, dataset, model = _model(data_path, name)
    trainer = BackboneTrainer(config, model, dataset)
    batches = list(trainer.batches(0))
    model.train()

    def steps() -> None:
        for batch in batches[:LARGE_STEPS]:
            trainer._step(batch)

    return repeat(steps, repeats), LARGE_STEPS / len(batches)


STAGES = {
    stage.__name__: stage
    for stage in (
        sequence_building,
        sasrec_epoch,
        memory_encoding,
        neighbour_search,
        finetune_epoch,
        evaluation,
        large_catalogue,
    )
}
