from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_raserec import Config, ConfigError, SequenceDataset, convert, run
from recbole_raserec.pipeline import load, trainer_maker
from recbole_raserec.regeneration.dataset import RegeneratedDataset
from recbole_raserec.regeneration.decoding import decode_all, decode_block, local_decoder, ray_decoder
from recbole_raserec.regeneration.personalized import PersonalizedTrainer
from recbole_raserec.regeneration.regenerator import Regenerator
from recbole_raserec.regeneration.stage import Regeneration
from recbole_raserec.training import checkpoints
from recbole_raserec.training.build import build_model
from recbole_raserec.training.model_file import load_model
from tests.regeneration.conftest import SHORT
from tests.training.stages import pretrain


def test_the_same_seed_gives_the_same_rows_and_the_second_run_finds_them(make_config):
    rows = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = make_config(**{**SHORT, "checkpoint_dir": folder, "seed": seed, "regenerate": "DR4SR"})
        dataset = SequenceDataset(config)
        dataset.build()
        stage = Regeneration(config, dataset)
        rows.append(stage.run().rows.digest())
        again = Regeneration(config, dataset)
        assert again.run().rows.digest() == rows[-1]
        assert not again.seconds  # nothing was done
    assert rows[0] == rows[1] != rows[2]


def test_an_interrupted_regenerator_goes_on_where_it_stopped(make_config, monkeypatch):
    def made(folder, **more):
        config = make_config(**{**SHORT, "regenerator_epochs": 3, "checkpoint_dir": folder, **more})
        dataset = SequenceDataset(config)
        dataset.build()
        return Regeneration(config, dataset)

    straight = made("a")
    rows = straight.run().rows.digest()
    from recbole_raserec.regeneration import trainer as regenerator

    save = regenerator.RegeneratorTrainer._save_checkpoint

    def killed(self, epoch, verbose=True, **kwargs):
        save(self, epoch)
        raise KeyboardInterrupt

    monkeypatch.setattr(regenerator.RegeneratorTrainer, "_save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        made("b").run()
    monkeypatch.setattr(regenerator.RegeneratorTrainer, "_save_checkpoint", save)
    resumed = made("b", resume=True)
    for file in Path(resumed.config["checkpoint_dir"]).glob("*.last.pth"):
        checkpoints.save(file, {**checkpoints.load(file, "cpu"), "seconds": 1000.0})
    assert resumed.run().rows.digest() == rows
    assert resumed.losses == straight.losses
    assert {stage for stage, spent in resumed.seconds.items() if spent > 1000} == {"embedding", "regenerator"}


NO_DROPOUT = {"attn_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}  # then attention has torch's fused kernel


@pytest.mark.parametrize(("regeneration", "how"), [("DR4SR", {}), ("DR4SR+", {}), ("DR4SR+", NO_DROPOUT)])
def test_the_whole_pipeline_runs_on_regenerated_data_and_on_a_memory_of_patterns(short, regeneration, how):
    more = {
        **how,
        "regenerate": regeneration,
        "memory": "pairs,patterns",
        "personalize_warmup_epochs": 1,
        "personalize_every": 2,
    }
    result = run(dataset="tiny", config_dict={**short, **more})
    assert result["regeneration"]["counts"]["patterns"] > 0
    assert "regenerate" in result["seconds"]
    assert result["dataset"]["users"] == 40
    memory = load_model(result["model_file"]).memory
    generated = memory.keys[memory.owners == 0]
    assert 0 < len(generated) < len(memory.keys)


def test_duorec_keeps_its_contrastive_term_under_learned_weights(make_config):
    """The loss of an epoch grows with its weight."""
    settings = {**SHORT, "backbone": "DuoRec", "regenerate": "DR4SR+", "regenerate_parts": "original,patterns"}
    losses = []
    for weight in (0.0, 9.0):
        config = make_config(**settings, contrast_weight=weight)
        data, _ = load(config)
        losses.append(trainer_maker(config)(config, build_model(config, data), data)._train_epoch(None, 0))
    assert losses[1] > losses[0] + 1


def test_learned_weights_are_updated_however_short_an_epoch_is(make_config, monkeypatch):
    updates = []
    monkeypatch.setattr(PersonalizedTrainer, "_learn_weights", lambda trainer, _: updates.append(trainer.steps))
    every = {"personalize_every": 5, "personalize_warmup_epochs": 1, "train_batch_size": 128, "softmax_negatives": 0}
    config = make_config(**SHORT, regenerate="DR4SR+", regenerate_parts="original,patterns", **every)
    data, _ = load(config)
    trainer = trainer_maker(config)(config, build_model(config, data), data)
    for epoch in range(4):
        trainer._train_epoch(None, epoch)
    steps = len(trainer.loader)
    assert steps % 5
    assert updates == [n for n in range(steps + 1, 4 * steps + 1) if n % 5 == 0]


def test_a_part_that_is_left_out_is_not_trained_on(make_config):
    config = make_config(**{**SHORT, "regenerate": "DR4SR", "regenerate_parts": "patterns"})
    dataset = SequenceDataset(config)
    dataset.build()
    made = Regeneration(config, dataset).run()
    assert set(made.manifest["seconds"]) == {"mining"}  # nothing to decode: nothing trained
    regenerated = RegeneratedDataset(config, made.rows)
    train, valid, _ = regenerated.build()
    assert (regenerated.sequences.weights[: regenerated.sequences.original] == 0).all()
    assert len(valid) == len(dataset.sequences.valid_part())
    batch = train[torch.arange(len(train) - 5, len(train))]
    assert [name.split("-")[0] for name in regenerated.id2token("user_id", batch["user_id"])] == ["patterns"] * 5
    assert regenerated.user_num == dataset.user_num + len(made.rows)


@pytest.mark.slow  # tests/tuning uses Ray in the fast suite
def test_decoding_on_ray_is_decoding_here_though_a_worker_is_lost(tiny, own_folder):
    _, dataset, _ = tiny
    sequences = dataset.sequences.training_only()
    torch.manual_seed(0)
    model = Regenerator(torch.randn(dataset.item_num, 16), max_length=8, max_target=6, inner_size=16)
    settings = (0.5, 3, 6, torch.device("cpu"))
    here = decode_all(sequences, local_decoder(model, sequences, *settings))
    marker = own_folder / "died"

    def lost_once(*arguments):  # inside the test: workers cannot import its module
        if not marker.exists():
            marker.touch()
            os._exit(1)
        return decode_block(*arguments)

    there = decode_all(sequences, ray_decoder("local", model, sequences, *settings, decode=lost_once))
    assert marker.exists()
    for name in ("items", "offsets", "sequence"):
        assert np.array_equal(getattr(here, name), getattr(there, name))


def test_a_generated_row_has_no_real_users_name(own_folder):
    rows = [
        f"{user},{item},{n}" for user in ("patterns-0", "decoded-0", "ann", "bob") for n, item in enumerate("abcde")
    ]
    Path("events.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    convert("events.csv", "csv", "few", "dataset", show_progress=False)
    config = Config("RaSeRec", "few", config_dict={**SHORT, "regenerate": "DR4SR", "regenerate_parts": "patterns"})
    data, _ = load(config)
    names = list(data.field2id_token["user_id"])
    assert len(set(names)) == len(names) > 5
    ids = data.field2token_id["user_id"]
    assert [ids[name] for name in names] == list(range(len(names)))


def test_a_regenerator_begins_with_the_vectors_of_a_pretrained_backbone_of_these_data(make_config, tiny_data):
    trained, _ = pretrain(make_config(**SHORT))
    files, rows = set(), set()
    for start in (None, str(trained.saved_model_file)):
        config = make_config(**SHORT, regenerate="DR4SR", regenerator_pretrained=start)
        dataset = SequenceDataset(config)
        dataset.build()
        stage = Regeneration(config, dataset)
        made = stage.run()
        files.add(stage.path)
        rows.add(made.rows.digest())
    assert len(files) == len(rows) == 2
    inter = tiny_data / "tiny" / "tiny.inter"
    inter.write_text(inter.read_text() + "40\t3\t99\n")
    config = make_config(**SHORT, regenerate="DR4SR", regenerator_pretrained=str(trained.saved_model_file))
    with pytest.raises(ConfigError, match="trained on other data"):
        load(config)
