from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_raserec import Config, ConfigError, DataError, SequenceDataset, convert, regenerate, run, run_recbole
from recbole_raserec.cli import main
from recbole_raserec.pipeline import build_model, load, trainer_maker
from recbole_raserec.regeneration import export
from recbole_raserec.regeneration.dataset import RegeneratedDataset
from recbole_raserec.regeneration.decoding import decode_all, decode_block, local_decoder, ray_decoder
from recbole_raserec.regeneration.export import format_manifest
from recbole_raserec.regeneration.personalized import PersonalizedTrainer
from recbole_raserec.regeneration.regenerator import Regenerator
from recbole_raserec.regeneration.stage import Regeneration
from recbole_raserec.training import checkpoints

SHORT = {
    "regenerator_epochs": 2, "regenerator_embedding_epochs": 1, "regenerator_inner_size": 32, "decode_max_length": 6,
    "epochs": 2, "finetune_epochs": 2, "top_k": 5, "show_progress": False, "hidden_size": 16, "inner_size": 32,
    "MAX_ITEM_LIST_LENGTH": 8, "cross_inner_size": 32,
}  # fmt: skip


@pytest.fixture
def short(tiny_data):
    return {**SHORT, "data_path": str(tiny_data)}


def lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def test_the_folder_holds_the_original_split_and_the_generated_rows(short, tiny_data, capsys):
    manifest = json.loads(regenerate("tiny-dr", "tiny", config_dict=short).read_text())
    folder = tiny_data / "tiny-dr"
    parts = {part: lines(folder / f"tiny-dr.{part}.inter") for part in ("train", "valid", "test")}
    dataset = SequenceDataset(Config("RaSeRec", "tiny", config_dict=short))
    train, valid, test = dataset.build()
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    for part, built in (("valid", valid), ("test", test), ("train", train)):
        batch = built[torch.arange(len(built))]
        expected = [
            [users[u], " ".join(items[i] for i in row if i), items[target]]
            for u, row, target in zip(batch["user_id"], batch["item_id_list"].tolist(), batch["item_id"])
        ]
        assert parts[part][: len(expected)] == expected
        assert len(parts[part]) == len(expected) or part == "train"
    extra = parts["train"][len(train) :]
    assert {row[0].split("-")[0] for row in extra} == {"patterns", "decoded"}
    counts = manifest["counts"]
    assert len({row[0] for row in extra}) == counts["patterns"] + counts["decoded_kept"]
    assert manifest["source_sha256"] == dataset.sha256
    assert set(manifest["files"]) == {f"tiny-dr.{part}.inter" for part in parts}
    assert set(manifest["seconds"]) == {"mining", "pairs", "embedding", "regenerator", "decoding"}
    assert "decoded kept" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_stock_recbole_trains_on_the_folder(short, tiny_data, model):
    regenerate("tiny-dr", "tiny", config_dict=short)
    settings = {"data_path": str(tiny_data), "epochs": 1, "show_progress": False, "hidden_size": 16, "n_heads": 2}
    result = run_recbole(model, "tiny-dr", config_dict={**settings, "inner_size": 16, "embedding_size": 16})
    assert 0 <= result["test_result"]["recall@10"] <= 1


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
    assert result["config"]["memory"] == ["pairs", "patterns"]


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


def test_items_with_spaces_are_written_with_another_separator(short, tiny_data):
    path = tiny_data / "tiny" / "tiny.inter"
    head, *rows = path.read_text().splitlines()
    named = [[user, f"item {item}", time] for user, item, time in (row.split("\t") for row in rows)]
    path.write_text("\n".join([head, *map("\t".join, named)]) + "\n")
    regenerate("tiny-dr", "tiny", config_dict={**short, "regenerate_parts": "original,patterns"})
    written = lines(tiny_data / "tiny-dr" / "tiny-dr.test.inter")
    assert all(item.startswith("item ") for _, history, target in written for item in [*history.split(","), target])
    assert yaml.safe_load((tiny_data / "tiny-dr" / "tiny-dr.yaml").read_text())["seq_separator"] == ","
    path.write_text("\n".join([head, *map("\t".join, ([user, f"{item},;|", time] for user, item, time in named))]))
    with pytest.raises(DataError, match="nothing can stand between them"):
        regenerate("tiny-dr", "tiny", config_dict=short)


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--output=tiny-dr", "--decode_gamma=2"], "decode_gamma=2"),
        (["--output=tiny-dr", "--regenerator_n_heads=3"], "regenerator_n_heads=3: must divide hidden_size="),
        (["--output=tiny-dr", "--regenerate_parts=pattern"], "did you mean 'patterns'"),
        (["--output=tiny-dr", "--regenerate=DR5SR"], "did you mean 'DR4SR'"),
        (["--output=tiny"], "this is the source"),
        (["--output=a/b"], "not a folder name"),
        (["--output=other"], "was not written by regenerate"),
        ([], "--output"),
        (["--output=tiny-dr", "--pattern_min_support=99"], "lower --pattern_min_support"),
        (["--output=tiny-dr", "--regenerate=DR4SR+", "--softmax_negatives=8"], "give --softmax_negatives=0"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(tiny_data, words, says, capsys):
    (tiny_data / "other").mkdir()
    (tiny_data / "other" / "precious").write_text("")
    assert main(["regenerate", "--dataset=tiny", f"--data_path={tiny_data}", *words]) == 2
    assert says in capsys.readouterr().err
    assert not (tiny_data / "tiny-dr").exists()


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


def test_counts_of_a_regeneration():
    counts = {"sequences": 1234, "patterns": 56, "patterns_by_length": {"2": 50, "3": 6}, "decoded_kept": 7}
    manifest = {"counts": counts, "seconds": {"mine": 0.4, "write": 12}}
    assert format_manifest(manifest).splitlines() == [
        "sequences: 1,234",
        "patterns: 56 (50 of 2, 6 of 3 items)",
        "decoded kept: 7",
        "seconds: mine 0, write 12",
    ]
    assert "patterns_by_length" in counts


def test_ml_100k_is_written_where_data_path_says(own_folder):
    """RecBole moves the path of ml-100k into its own installed package."""
    settings = {"data_path": "mine", "regenerate_parts": "patterns", "pattern_window": 2, "pattern_min_support": 30}
    path = regenerate("ml-dr", "ml-100k", config_dict={**settings, "show_progress": False})
    assert path == Path("mine/ml-dr/manifest.json")
    assert path.is_file()


def test_a_stopped_writer_goes_on_with_the_same_command(short, tiny_data, monkeypatch):
    patterns = {**short, "regenerate_parts": "patterns"}
    whole = json.loads(regenerate("whole", "tiny", config_dict=patterns).read_text())
    write = export._write_part

    def full(path, *arguments):
        if "valid" in path.name:
            raise ConfigError("output", str(path), "cannot be written", "free some space")
        return write(path, *arguments)

    monkeypatch.setattr(export, "_write_part", full)
    for _ in range(2):  # also over what the first one left
        with pytest.raises(ConfigError, match="free some space"):
            regenerate("tiny-dr", "tiny", config_dict=patterns)
        assert "files" not in json.loads((tiny_data / "tiny-dr" / "manifest.json").read_text())
    monkeypatch.undo()
    made = json.loads(regenerate("tiny-dr", "tiny", config_dict=patterns).read_text())
    assert made["parts"] == ["patterns"]
    assert [file["sha256"] for file in made["files"].values()] == [file["sha256"] for file in whole["files"].values()]


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
