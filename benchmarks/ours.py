"""Timings of each stage of this package. Those of regeneration are in ``ours_regeneration``.

Every function returns the seconds of each repeat, the fraction of the stage that was measured, and the minimal work of
the whole stage: ``{"flops": ...}``, where a multiply-add counts twice, or ``{"bytes": ...}`` moved in memory.
"""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Callable

import numpy as np
import torch

from recbole_raserec import Config, RaSeRec, SequenceDataset
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.data.batches import training_windows
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.runtime.recbole_faults import without_anomaly_mode
from recbole_raserec.training.backbone import BackboneTrainer
from recbole_raserec.training.finetune import FinetuneTrainer
from recbole_raserec.training.queries import Queries, rank_queries
from recbole_raserec.training.stage import StageTrainer

MOST_STEPS = 128  # timed steps of an epoch: all of Beauty's; for larger data the rest is extrapolated
K, D, INNER, LAYERS = 20, 64, 256, 2
Timing = tuple[list[float], float, dict[str, float]]


def encoder_flops(tokens: int) -> float:
    """Floating point operations of a forward pass: projections and feed-forward. Attention itself is small."""
    return 2.0 * tokens * LAYERS * (4 * D * D + 2 * D * INNER)


def softmax_flops(pairs: int, items: int, products: int) -> float:
    """``products`` = 1 for scores, 2 with the gradient of the users, 3 also with the gradient of the items."""
    return 2.0 * pairs * items * D * products


def load(data_path: Path, name: str, **more: Any) -> tuple[Config, SequenceDataset]:
    """The configuration and the data set, which is read but not built."""
    config = Config("RaSeRec", name, config_dict={"data_path": str(data_path), "show_progress": False, **more})
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


def epochs(trainer: StageTrainer, repeats: int) -> tuple[list[float], float]:
    """Seconds of the timed steps of each epoch, including the draw of batches, and their fraction of an epoch."""
    seconds, share = [], 1.0
    trainer.model.train()
    for epoch in range(repeats):
        start = perf_counter()
        batches = trainer.batches(epoch)
        drawn = perf_counter() - start
        share = min(MOST_STEPS / len(batches), 1.0)
        start = perf_counter()
        with without_anomaly_mode():
            for batch in islice(batches, MOST_STEPS):
                trainer._step(batch)
        seconds.append(drawn * share + perf_counter() - start)
    return seconds, share


def sequence_building(data_path: Path, name: str, repeats: int) -> Timing:
    """From loaded interactions to training, validation and test parts."""
    seconds = []
    for _ in range(repeats):
        dataset = load(data_path, name)[1]
        seconds += repeat(dataset.build, 1)
    return seconds, 1.0, {"bytes": 5 * 8.0 * len(dataset.sequences.items)}  # three columns read, two written


def _model(data_path: Path, name: str, **more: Any) -> tuple[Config, SequenceDataset, RaSeRec]:
    config, dataset = load(data_path, name, **more)
    dataset.build()
    return config, dataset, RaSeRec(config, dataset)


def sasrec_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """One epoch of packed SASRec, including the optimiser."""
    config, dataset, model = _model(data_path, name)
    trainer = BackboneTrainer(config, model, dataset)
    windows, scored = trainer.loader.windows, trainer.model.negatives or dataset.item_num
    flops = 3 * encoder_flops(windows.length.sum()) + softmax_flops(windows.pairs.sum(), scored, 3)
    return *epochs(trainer, repeats), {"flops": flops}


def sasrec_epoch_as_shipped(data_path: Path, name: str, repeats: int) -> Timing:
    """The same epoch, timed again beside RecBole's as it ships."""
    return sasrec_epoch(data_path, name, repeats)


def duorec_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """One epoch of packed DuoRec, including the partners with the same target."""
    config, dataset, model = _model(data_path, name, backbone="DuoRec")
    trainer = BackboneTrainer(config, model, dataset)
    windows, part = trainer.loader.windows, dataset.sequences.train_part()
    pairs, partners = int(windows.pairs.sum()), np.minimum(part.lengths, model.max_seq_length).sum()
    flops = 3 * encoder_flops(2 * windows.length.sum() + partners) + softmax_flops(pairs, dataset.item_num, 3)
    contrast = softmax_flops(2 * pairs, 2 * config["train_batch_size"], 3)  # each view with all views of its batch
    return *epochs(trainer, repeats), {"flops": flops + contrast}


def memory_encoding(data_path: Path, name: str, repeats: int) -> Timing:
    """The vector of every training prefix."""
    _, dataset, model = _model(data_path, name)
    part = dataset.sequences.train_part()
    seconds = repeat(lambda: encode_prefixes(model.backbone, part), repeats)
    tokens = training_windows(dataset.sequences, model.max_seq_length).length.sum()
    return seconds, 1.0, {"flops": encoder_flops(tokens)}


def _random_memory(dataset: SequenceDataset) -> MemoryBank:
    part = dataset.sequences.train_part()
    keys = np.random.default_rng(0).standard_normal((len(part), D), np.float32)
    return MemoryBank(keys, part.targets, part.users, part.lengths)


def neighbour_search(data_path: Path, name: str, repeats: int) -> Timing:
    """The 20 nearest memories of every training prefix without leaks, including the build of the index."""
    _, dataset, _ = _model(data_path, name)
    memory = _random_memory(dataset)

    def search() -> None:
        fresh = dataclasses.replace(memory)  # builds its index again
        fresh.search(fresh.keys, fresh.owners, fresh.lengths, 20)

    return repeat(search, repeats), 1.0, {"flops": 2.0 * len(memory) ** 2 * D}


def finetune_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """One epoch over cached queries and neighbours."""
    config, dataset, model = _model(data_path, name)
    memory = _random_memory(dataset)
    model.remember(memory)
    found = torch.randint(len(memory), (len(memory), 20), dtype=torch.int32)
    queries = Queries(dataset.sequences.train_part(), torch.from_numpy(memory.keys), found, memory)
    trainer = FinetuneTrainer(config, model, dataset.sha256, queries)
    attention = 2 * (4 * D * D + 4 * K * D) + 2 * D * INNER  # two attentions of two heads, one feed-forward layer
    flops = 3 * 2.0 * len(memory) * attention + softmax_flops(len(memory), dataset.item_num, 2)
    return *epochs(trainer, repeats), {"flops": flops}


def evaluation(data_path: Path, name: str, repeats: int) -> Timing:
    """Encode every test user and rank all items, under both protocols."""
    config, dataset, model = _model(data_path, name)
    part = dataset.sequences.test_part()

    def evaluate() -> None:
        queries = Queries(part, torch.from_numpy(encode_prefixes(model.backbone, part)))
        rank_queries(model.scorer(), queries, config["eval_batch_size"], show_progress=False)

    tokens = np.minimum(part.lengths, model.max_seq_length).sum()
    flops = encoder_flops(tokens) + softmax_flops(len(part), dataset.item_num, 1)
    return repeat(evaluate, repeats), 1.0, {"flops": flops}


def large_catalogue(data_path: Path, name: str, repeats: int) -> Timing:
    """A SASRec epoch over a million items, with a sampled softmax."""
    return sasrec_epoch(data_path, name, repeats)


STAGES = {
    stage.__name__: stage
    for stage in (
        sequence_building,
        sasrec_epoch,
        sasrec_epoch_as_shipped,
        duorec_epoch,
        memory_encoding,
        neighbour_search,
        finetune_epoch,
        evaluation,
        large_catalogue,
    )
}
