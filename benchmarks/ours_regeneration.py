"""Timings of mining, the regenerator and its decoding. Every function returns what those of ``ours`` return."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.ours import D, Timing, encoder_flops, load, repeat, softmax_flops
from recbole_raserec import Config, SequenceDataset
from recbole_raserec.data.patterns import mine_patterns, pair_patterns
from recbole_raserec.regeneration.decoding import decode_all, local_decoder
from recbole_raserec.regeneration.regenerator import Regenerator
from recbole_raserec.regeneration.trainer import Pairs, RegeneratorTrainer


def pattern_pairs(data_path: Path, name: str) -> tuple[Config, SequenceDataset, Pairs]:
    """The pairs of a sequence and a pattern that the regenerator is trained on, and what they come from."""
    config, dataset = load(data_path, name)
    dataset.build()
    training = dataset.sequences.training_only()
    patterns = mine_patterns(training)
    sources = training.recent(config["MAX_ITEM_LIST_LENGTH"])
    return config, dataset, Pairs(sources, patterns, *pair_patterns(sources, patterns, 10, seed=0))


def regenerator(config: Config, items: int) -> Regenerator:
    """An untrained regenerator, equal for both sides."""
    torch.manual_seed(0)
    return Regenerator(torch.randn(items, D) * 0.02, config["MAX_ITEM_LIST_LENGTH"], config["decode_max_length"])


def trained_regenerator(config: Config, dataset: SequenceDataset, pairs: Pairs) -> Regenerator:
    """A regenerator after one epoch of training, equal for both sides. An untrained one never ends a row."""
    model = regenerator(config, dataset.item_num)
    RegeneratorTrainer(config, model, pairs, dataset.sha256, "bench")._train_epoch(None, 0)
    return model.eval()


def mining(data_path: Path, name: str, repeats: int) -> Timing:
    """All patterns of the training sequences."""
    dataset = load(data_path, name)[1]
    dataset.build()
    training = dataset.sequences.training_only()
    # Each position has four extensions; each is written and read once.
    return repeat(lambda: mine_patterns(training), repeats), 1.0, {"bytes": 2 * 4 * 8.0 * len(training.items)}


def regenerator_epoch(data_path: Path, name: str, repeats: int) -> Timing:
    """One epoch of the regenerator over its pairs."""
    config, dataset, pairs = pattern_pairs(data_path, name)
    trainer = RegeneratorTrainer(config, regenerator(config, dataset.item_num), pairs, dataset.sha256, "bench")
    numbers = iter(range(repeats))
    seconds = repeat(lambda: trainer._train_epoch(None, next(numbers)), repeats)
    sources = pairs.sequences.lengths[np.unique(pairs.sequence)] + 2
    targets = pairs.patterns.lengths[pairs.pattern] + 2
    spread = trainer.model.diversity * D
    flops = encoder_flops(sources.sum()) + 2 * encoder_flops(targets.sum())  # encoder, condition encoder, decoder
    flops += 2.0 * sources.sum() * (D * spread + spread * spread)
    return seconds, 1.0, {"flops": 3 * flops}


def decoding(data_path: Path, name: str, repeats: int) -> Timing:
    """Decode five rows of every sequence. The first two tokens are restrictive, the others generative."""
    config, dataset, pairs = pattern_pairs(data_path, name)
    model = trained_regenerator(config, dataset, pairs)
    decoder = local_decoder(model, pairs.sequences, 1.0, 0, config["decode_max_length"], config["device"])
    tokens = [0]

    def decode() -> None:
        tokens[0] = len(decode_all(pairs.sequences, decoder).items)

    seconds = repeat(decode, repeats)
    return seconds, 1.0, {"flops": softmax_flops(tokens[0], dataset.item_num, 1) + encoder_flops(tokens[0])}


STAGES = {stage.__name__: stage for stage in (mining, regenerator_epoch, decoding)}
