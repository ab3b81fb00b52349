"""The command ``regenerate`` and the folder that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from recbole.data import data_preparation

from recbole_raserec import Config, ConfigError, DataError, SequenceDataset, regenerate, run_recbole
from recbole_raserec.cli import main
from recbole_raserec.regeneration import export
from recbole_raserec.regeneration.export import format_manifest
from recbole_raserec.runtime import stock


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
def test_stock_recbole_trains_on_the_folder(short, tiny_data, model, monkeypatch):
    manifest = json.loads(regenerate("tiny-dr", "tiny", config_dict=short).read_text())
    prepared = []
    monkeypatch.setattr(stock, "data_preparation", lambda *of: prepared.extend(data_preparation(*of)) or prepared)
    settings = {"data_path": str(tiny_data), "epochs": 1, "show_progress": False, "hidden_size": 16, "n_heads": 2}
    settings |= {"inner_size": 16, "embedding_size": 16}
    assert "recall@10" in run_recbole(model, "tiny-dr", config_dict=settings)["test_result"]
    for part, loader in zip(("train", "valid", "test"), prepared):
        data = loader.dataset
        histories, targets = data.inter_feat["item_id_list"], data.inter_feat["item_id"]
        read = [
            [" ".join(data.id2token("item_id", row[row > 0])), data.id2token("item_id", target)]
            for row, target in zip(histories.numpy(), targets.numpy())
        ]
        assert sorted(read) == sorted(row[1:] for row in lines(tiny_data / "tiny-dr" / f"tiny-dr.{part}.inter"))
        assert len(read) == manifest["files"][f"tiny-dr.{part}.inter"]["lines"]


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--output=tiny-dr", "--decode_gamma=2"], "decode_gamma=2"),
        (["--output=tiny-dr", "--regenerator_n_heads=3"], "regenerator_n_heads=3: must divide hidden_size="),
        (["--output=tiny-dr", "--regenerate_parts=pattern"], "did you mean 'patterns'"),
        (["--output=tiny-dr", "--regenerate=DR5SR"], "did you mean 'DR4SR'"),
        (["--output=tiny-dr", "--world_size=2", "--nproc=2"], "regenerate has one process"),
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
