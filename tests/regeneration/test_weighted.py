"""Training on generated rows: their weights, what they are mined from, and what cannot be trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from recbole_raserec import Config, ConfigError, SequenceDataset, run
from recbole_raserec.pipeline import load, trainer_maker
from recbole_raserec.regeneration.stage import Regeneration
from recbole_raserec.retrieval.memory import MemoryBank
from recbole_raserec.training.build import build_model
from recbole_raserec.training.remember import BankSettings, Reader, remember
from tests.data.test_patterns import mined_by_hand
from tests.regeneration.conftest import SHORT
from tests.training.stages import run_until

PATTERNS = {**SHORT, "regenerate": "DR4SR", "regenerate_parts": "original,patterns", "pattern_min_support": 6}
PLAIN = {"attn_dropout_prob": 0.0, "hidden_dropout_prob": 0.0, "softmax_negatives": 0}


def trainer_of(config):
    data, _ = load(config)
    model = build_model(config, data)
    return trainer_maker(config)(config, model, data), model, data


@pytest.mark.parametrize("more", [{}, {"backbone": "DuoRec", "contrast_weight": 0.0}])
def test_a_pair_of_a_pattern_has_its_weight_in_the_loss(make_config, more):
    trainer, _, data = trainer_of(make_config(**PATTERNS, **PLAIN, **more, pattern_weight=0.25))
    lengths = data.sequences.lengths[data.sequences.original :]
    generated = 0
    for batch in trainer.batches(0):
        pairs = trainer.model.packed_pairs(batch)
        each = cross_entropy(pairs.hidden @ trainer.model.item_vectors.T, pairs.targets, reduction="none")
        expected = (each * torch.where(pairs.generated, 0.25, 1.0)).sum() / trainer.loader.budget
        torch.testing.assert_close(trainer.loss(batch), expected)
        generated += int(pairs.generated.sum())
    assert generated == (lengths - 1).sum() > 0


def training_patterns(data: SequenceDataset, config) -> set[tuple[int, ...]]:
    """The patterns in what is neither of the validation part nor of the test part."""
    held_out = {3: 1}
    ends = [held_out.get(int(length), 2 if length >= 4 else 0) for length in data.sequences.lengths]
    histories = np.split(data.sequences.items, data.sequences.offsets[1:-1])
    train = [items[: len(items) - end].tolist() for items, end in zip(histories, ends)]
    return set(mined_by_hand(train, config["pattern_window"], config["pattern_min_support"]))


def as_rows(items: np.ndarray, offsets: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row.tolist()) for row in np.split(items, offsets[1:-1])}


def test_patterns_of_training_rows_and_memories_are_of_the_training_parts_alone(make_config):
    config = make_config(**SHORT, pattern_window=3, pattern_min_support=6, regenerate_parts="original,patterns")
    data = SequenceDataset(config)
    data.build()
    expected = training_patterns(data, config)
    everything = np.split(data.sequences.items, data.sequences.offsets[1:-1])
    assert expected < set(mined_by_hand([items.tolist() for items in everything], 3, 6))  # else nothing is shown
    rows = Regeneration(config, data).run().rows
    assert as_rows(rows.items, rows.offsets) == expected
    settings = BankSettings(["patterns"], 3, 6)
    memory = remember(Reader.of(config, build_model(config, data)), data.sequences, settings).memory
    pairs = {pattern[:end] for pattern in expected for end in range(2, len(pattern) + 1)}  # a history and its target
    assert remembered(memory) == sorted((len(pair) - 1, pair[-1]) for pair in pairs)


def remembered(memory: MemoryBank) -> list[tuple[int, int]]:
    assert (memory.owners == 0).all()
    return sorted(zip(memory.lengths.tolist(), memory.targets.tolist()))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"backbone": "GRU4Rec", "pattern_weight": 0.5}, "pattern_weight"),
        ({"backbone": "GRU4Rec", "decode_weight": 0.5}, "decode_weight"),
        ({"backbone": "GRU4Rec", "regenerate": "DR4SR+"}, "regenerate"),
    ],
)
def test_what_cannot_be_trained_is_told_before_the_regenerator_is_trained(tiny_data, more, field):
    needless = ("inner_size", "hidden_size")  # not of these backbones
    short = {name: value for name, value in SHORT.items() if name not in needless}
    with pytest.raises(ConfigError) as caught:
        run(dataset="tiny", config_dict={**short, "data_path": str(tiny_data), "regenerate": "DR4SR", **more})
    assert caught.value.field == field
    assert not list(Path("saved").rglob("*.pth"))


def test_a_weight_of_a_part_that_is_left_out_stops_nothing(tiny_data):
    short = {name: value for name, value in PATTERNS.items() if name not in ("inner_size", "hidden_size")}
    more = {"data_path": str(tiny_data), "backbone": "GRU4Rec", "decode_weight": 0.5}
    config = Config("RaSeRec", "tiny", config_dict={**short, **more})
    data, manifest = load(config)
    assert manifest is not None
    build_model(config, data)


def personalized(make_config, **more):
    how = {"personalize_every": 2, "personalize_warmup_epochs": 0, "epochs": 2, "train_batch_size": 128}
    return make_config(**{**PATTERNS, "regenerate": "DR4SR+", "pattern_weight": 0.5, **how, **PLAIN, **more})


def test_learned_weights_are_those_of_generated_pairs_and_every_part_of_the_personalizer_learns(make_config):
    trainer, *_ = trainer_of(personalized(make_config))
    batch = next(iter(trainer.batches(1)))
    pairs = trainer.model.packed_pairs(batch)
    weights = trainer._weights(pairs)
    assert pairs.generated.any()
    assert (weights[~pairs.generated] == 1).all()
    learned = weights[pairs.generated]
    assert ((learned > 0) & (learned < 0.5)).all()
    before = {name: value.clone() for name, value in trainer.personalizer.state_dict().items()}
    trainer._learn_weights(batch)
    for name, value in trainer.personalizer.state_dict().items():
        assert not torch.equal(value, before[name]), name


def test_a_training_with_learned_weights_goes_on_where_it_was_stopped(make_config):
    def trained(folder, stop_after=None, **more):
        trainer, model, data = trainer_of(personalized(make_config, checkpoint_dir=folder, **more))
        run_until(trainer, data, stop_after)
        return trainer, model

    straight, model = trained("a")
    with pytest.raises(KeyboardInterrupt):
        trained("b", stop_after=1)
    resumed, again = trained("b", resume=True)
    assert resumed.start_epoch == 1
    assert resumed.curve == straight.curve
    for one, other in ((model, again), (straight.personalizer, resumed.personalizer)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    momenta = [trainer.outer_optimizer.state_dict()["state"] for trainer in (straight, resumed)]
    assert momenta[0]
    torch.testing.assert_close(*momenta, rtol=0, atol=0)
