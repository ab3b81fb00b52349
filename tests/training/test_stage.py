"""The stages of training: what is resumed, validated, averaged and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recbole_raserec import ConfigError, DataError, run
from recbole_raserec.training import checkpoints, model_file
from recbole_raserec.training.backbone import BackboneTrainer
from recbole_raserec.training.course import seed_of
from recbole_raserec.training.optimizers import DenseAndSparse
from tests.training.stages import build, pretrain


# With sampling, the item vectors have their own optimiser. The epoch that is kept need not be validated.
@pytest.mark.parametrize("how", [{}, {"softmax_negatives": 8}, {"ema_decay": 0.9}, {"eval_step": 3}, {"eval_step": 4}])
def test_a_resumed_run_is_the_uninterrupted_one(make_config, how):
    how = {"epochs": 4, **how}
    straight, weights = pretrain(make_config(**how, checkpoint_dir="a"))
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(**how, checkpoint_dir="b"), stop_after=2)
    resumed, again = pretrain(make_config(**how, checkpoint_dir="b", resume=True))
    assert resumed.start_epoch == 2
    assert resumed.curve == straight.curve
    assert list(resumed.train_loss_dict.items()) == list(straight.train_loss_dict.items())
    assert checkpoints.load(resumed.last_file, "cpu")["seconds"] > resumed.earlier > 0
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name


def test_a_run_whose_weights_were_in_another_order_goes_on_exactly(make_config):
    """Version 0.1.0 had those of the moving averages last."""
    how = {"epochs": 3, "average_weight": 0.5}
    straight, weights = pretrain(make_config(**how, checkpoint_dir="a"))
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(**how, checkpoint_dir="b"), stop_after=2)
    file = next(Path("b").glob("*.last.pth"))
    last = checkpoints.load(file, "cpu")
    names = list(last["state_dict"])
    before = [name for name in names if "averages" not in name] + [name for name in names if "averages" in name]
    assert before != names
    moments = last["optimizer"]["state"]
    last["optimizer"]["state"] = {place: moments[names.index(name)] for place, name in enumerate(before)}
    last["state_dict"] = {name: last["state_dict"][name] for name in before}
    checkpoints.save(file, last)
    resumed, again = pretrain(make_config(**how, checkpoint_dir="b", resume=True))
    assert resumed.curve == straight.curve
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize(("more", "lazy"), [({}, True), ({"weight_decay": 0.1}, False), ({"learner": "sgd"}, False)])
def test_with_a_sampled_softmax_a_step_moves_only_the_rows_it_used(make_config, more, lazy):
    config = make_config(softmax_negatives=2, train_batch_size=4, **more)
    dataset, model = build(config)
    stage = BackboneTrainer(config, model, dataset)
    before = model.item_vectors.detach().clone()
    batch = next(iter(stage.batches(0)))
    stage._step(batch)
    moved = (model.item_vectors != before).any(dim=1)
    assert moved.sum() > 0
    assert (moved.sum() < len(moved) - 3) == (lazy or more.get("learner") == "sgd")
    assert isinstance(stage.optimizer, DenseAndSparse) == lazy


@pytest.mark.parametrize("negatives", [0, 2])
def test_gradients_are_clipped_to_their_norm(make_config, negatives):
    config = make_config(
        softmax_negatives=negatives, clip_grad_norm={"max_norm": 1e-3}, learner="sgd", learning_rate=1.0
    )
    dataset, model = build(config)
    stage = BackboneTrainer(config, model, dataset)
    before = [parameter.detach().clone() for parameter in stage.model.parameters()]
    stage._step(next(iter(stage.batches(0))))
    moved = [parameter.detach() - old for parameter, old in zip(stage.model.parameters(), before)]
    assert torch.cat([step.flatten() for step in moved]).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_every_epoch_of_every_stage_has_its_own_seed():
    seeds = {seed_of(seed, stage, epoch) for seed in (1, 2) for stage in ("a", "b") for epoch in range(50)}
    assert len(seeds) == 200


def test_a_finished_run_is_only_loaded(make_config, monkeypatch):
    first, weights = pretrain(make_config(epochs=2))
    monkeypatch.setattr(BackboneTrainer, "fit", None)
    second, again = pretrain(make_config(epochs=2, resume=True))
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert (second.curve, second.train_loss_dict) == (first.curve, first.train_loss_dict)


def test_seconds_are_those_of_every_process_that_trained(make_config):
    config = make_config(epochs=1, finetune_epochs=1, resume=True)

    def seconds():
        return run(dataset="tiny", config_dict=config.external_config_dict)["seconds"]

    seconds()
    for file in Path(config["checkpoint_dir"]).glob("*.last.pth"):
        checkpoints.save(file, {**checkpoints.load(file, "cpu"), "seconds": 1000.0})
    again = seconds()
    assert again["memory"] < 1000 < min(again["pretrain"], again["finetune"])


def test_training_stops_early_and_restores_the_best_epoch(make_config):
    config = make_config(epochs=30, stopping_step=0, learning_rate=0.05)
    stage, _ = pretrain(config)
    assert len(stage.curve) < 30
    assert max(stage.curve) == pytest.approx(stage.best_valid_score)
    assert stage.curve[-1] < max(stage.curve)
    state = checkpoints.load(stage.saved_model_file, "cpu")
    assert state["epoch"] == max(i for i, value in enumerate(stage.curve) if value == max(stage.curve))


def test_training_learns(make_config):
    stage, _ = pretrain(make_config(epochs=6, learning_rate=0.01, train_batch_size=64, hidden_dropout_prob=0.1))
    losses = list(stage.train_loss_dict.values())
    assert losses[-1] < 0.9 * losses[0]


def test_what_is_validated_and_kept_is_the_moving_average(make_config):
    config = make_config(epochs=1, ema_decay=0.8, train_batch_size=64)
    dataset, model = build(config)
    stage = BackboneTrainer(config, model, dataset)
    step, expected = stage._step, {}

    def averaging(batch):
        loss = step(batch)
        for name, value in model.backbone.state_dict().items():
            expected[name] = 0.8 * expected[name] + 0.2 * value if name in expected else value.clone()
        return loss

    stage._step = averaging
    valid = stage.run(dataset.sequences.valid_part(), False)
    last = checkpoints.load(stage.last_file, "cpu")["state_dict"]
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert any(not torch.equal(value, last[name]) for name, value in model.backbone.state_dict().items())
    assert valid == stage.evaluate(dataset.sequences.valid_part())


@pytest.mark.parametrize("rate", ["learning_rate", "finetune_learning_rate"])
def test_a_diverging_run_says_so(make_config, rate):
    config = make_config(epochs=3, finetune_epochs=3, **{rate: 1e30})
    with pytest.raises(ConfigError, match=f"^{rate}=1e"):
        run(dataset="tiny", config_dict=config.external_config_dict)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"regenerate": "DR4SR", "regenerate_parts": "patterns"}, "there is no pair to train the backbone on"),
        ({"memory": "patterns"}, "so the memory would be empty"),
    ],
)
def test_patterns_alone_must_be_there(given, says, make_config):
    config = make_config(**given, pattern_min_support=999)
    with pytest.raises(DataError, match=says):
        run(dataset="tiny", config_dict=config.external_config_dict)
    assert not list(Path("saved").glob("*pretrain*"))


def test_freed_memory_is_given_back_after_a_growth_and_when_a_stage_ends(make_config, monkeypatch):
    given = []
    monkeypatch.setattr("recbole_raserec.training.stage.return_freed", lambda: given.append("end"))
    monkeypatch.setattr("recbole_raserec.runtime.machine.return_freed", lambda: given.append("step"))
    monkeypatch.setattr("recbole_raserec.runtime.machine.HeapGrowth._IN_AN_EPOCH", float("-inf"))
    pretrain(make_config(epochs=1))
    assert len(given) > 1
    assert given == ["step"] * (len(given) - 1) + ["end"]


def test_checkpoints_are_tensors_and_plain_types(make_config):
    stage, _ = pretrain(make_config(epochs=1))
    for path in (stage.saved_model_file, stage.last_file):
        state = torch.load(path, weights_only=True)
        assert state["config"]["hidden_size"] == 16


def test_a_parameter_that_is_newer_than_a_model_file_has_its_earlier_value():
    config = model_file._SavedConfig({"average_weight": 0.5})
    assert (config["average_weight"], config["average_form"], config["unknown"]) == (0.5, "mean", None)


def test_fingerprints_name_what_figures_depend_on():
    base = {"alpha": 0.5, "hidden_size": 64, "result_file": None, "seed": 1}

    def name(stage, **change):
        return checkpoints.fingerprint({**base, **change}, "sha", stage)

    assert name("pretrain", alpha=0.1) == name("pretrain", result_file="x") == name("pretrain")
    assert name("finetune", alpha=0.1) != name("finetune")
    assert name("pretrain", seed=2) != name("pretrain")

    by_time = {"split": "time", "time_shares": [0.5, 0.3, 0.2]}
    assert name("finetune", time_shares=[0.5, 0.3, 0.2]) == name("finetune")
    assert name("finetune", **by_time) != name("finetune", **{**by_time, "time_shares": [0.6, 0.2, 0.2]})

    of_pairs, of_patterns = {"memory": ["pairs"]}, {"memory": ["pairs", "patterns"]}
    assert name("finetune", **of_pairs, pattern_min_support=3) == name("finetune", **of_pairs)
    assert name("finetune", **of_patterns, pattern_min_support=3) != name("finetune", **of_patterns)
    assert name("pretrain", **of_patterns, pattern_min_support=3) == name("pretrain", **of_patterns)
    assert name("raserec", memory_include_valid=True) != name("raserec", memory_include_valid=False) == name("raserec")
    assert name("finetune", memory_include_valid=True) == name("finetune")
    assert (
        name("pretrain", embedding_dropout_prob=None)
        == name("pretrain")
        != name("pretrain", embedding_dropout_prob=0.5)
    )
