from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_raserec import Config, Recommender, SequenceDataset, run
from recbole_raserec.cli import main
from recbole_raserec.evaluation.significance import unpack_ranks
from recbole_raserec.runtime.machine import peak_rss_mib

# The paper's form: memories always have their full part in the scores.
EXACT = {"safeguard": False, "retrieval_strength": 1.0, "popularity_adjustment": 0.0, "mixture_weight": 0.0}
# Users of ml-100k with fewer than 100 ratings: an exact search for the memories of all pairs takes most of a minute.
INTERVAL = "[5,100)"
USERS, ITEMS, INTERACTIONS = 579, 1273, 25478  # counted in the wheel's file with pandas
METRICS = [f"{metric}@{k}" for metric in ("recall", "ndcg") for k in (5, 10, 20)]


@pytest.fixture(scope="module")
def ml100k(tmp_path_factory):
    """One run of the user's command on the real ml-100k but for its longest histories, small enough for a test."""
    folder = tmp_path_factory.mktemp("ml100k")
    here = Path.cwd()
    os.chdir(folder)
    try:
        words = "run --model=RaSeRec --dataset=ml-100k --epochs=3 --finetune_epochs=2 --window_stride=50"
        words += "".join(f" --{name}={value}" for name, value in EXACT.items())
        words += f" --user_inter_num_interval={INTERVAL}"
        code = main([*words.split(), "--result_file=out/r.json", "--show_progress=False", "--train_batch_size=512"])
    finally:
        os.chdir(here)
    assert code == 0
    return folder, json.loads((folder / "out" / "r.json").read_text())


def test_the_result_file_has_every_field(ml100k):
    _, result = ml100k
    assert result["dataset"]["name"] == "ml-100k"
    assert [result["dataset"][name] for name in ("users", "items", "interactions")] == [USERS, ITEMS, INTERACTIONS]
    assert len(result["dataset"]["sha256"]) == 64
    for side in ("backbone", "raserec"):
        assert list(result[side]["valid"]) == METRICS
        for protocol in ("unmasked", "masked"):
            values = list(result[side]["test"][protocol].values())
            assert list(result[side]["test"][protocol]) == METRICS
            assert all(0 <= value <= 1 for value in values)
    assert set(result["seconds"]) == {"load", "pretrain", "memory", "finetune", "evaluate"}
    for name in ("improvement", "improvement_masked"):
        for percent, low, high in result[name].values():
            assert low <= percent <= high
    assert result["config"]["alpha"] == 0.5
    assert result["versions"]["recbole"] == "1.2.1"
    assert result["seed"] == 2020
    assert 100 < result["peak_rss_mib"] <= peak_rss_mib()
    assert set(result["raserec"]["test_by_memory"]) == {"train", "train+valid"}


def test_the_model_has_learnt(ml100k):
    _, result = ml100k
    chance = 10 / ITEMS
    assert result["backbone"]["valid"]["recall@10"] > 3 * chance
    # Removing what a user has seen can only move the target up (ml-100k has no repeats).
    for side in ("backbone", "raserec"):
        test = result[side]["test"]
        assert all(test["masked"][metric] >= test["unmasked"][metric] for metric in METRICS)


def test_tensorboard_has_the_scalars_of_both_stages(ml100k):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, result = ml100k
    for stage, curve in result["valid_curves"].items():
        events = EventAccumulator(str(next((folder / "log_tensorboard").glob(f"*/{stage}")))).Reload()
        scores = [event.value for event in events.Scalars("Vaild_score")]  # RecBole's spelling
        np.testing.assert_allclose(scores, curve, atol=1e-6)
        assert len(events.Scalars("Loss/Train")) == len(result["train_losses"][stage])


def test_the_saved_model_needs_no_data_set_and_no_pickle(ml100k):
    folder, _ = ml100k
    path = next((folder / "saved").glob("ml-100k-RaSeRec-SASRec-*.pth"))
    state = torch.load(path, weights_only=True)
    assert len(state["item_tokens"]) == ITEMS + 1
    assert state["memory"]["keys"].shape == (len(state["memory"]["targets"]), 64)
    assert state["config"]["dataset"] == "ml-100k"


def test_ranks_through_recommend_are_those_of_the_result(ml100k, tmp_path):
    folder, result = ml100k
    parts = chronological()
    users = [user for user, items in parts.items() if len(items) >= 3]
    recommender = Recommender.load(folder / result["model_file"], store=tmp_path / "m.memory")
    histories = [parts[user][:-1] for user in users]
    for protocol, filter_seen in (("unmasked", False), ("masked", True)):
        frame = recommender.recommend(histories, k=20, filter_seen=filter_seen, users=users)
        rank = {(user, item): rank for user, item, rank in zip(frame["user"], frame["item"], frame["rank"])}
        found = np.array([rank.get((user, parts[user][-1]), 21) for user in users])
        expected = unpack_ranks(result["test_ranks"]["train"][protocol])
        assert len(found) == len(expected) == USERS
        assert found.tolist() == expected.tolist()
    assert recommender.title("50") == "Star Wars"


def chronological() -> dict[str, list[str]]:
    """User -> items of ml-100k, in the order of the data set: RecBole compares times in single precision."""
    dataset = SequenceDataset(
        Config("RaSeRec", "ml-100k", config_dict={"show_progress": False, "user_inter_num_interval": INTERVAL})
    )
    dataset.build()
    sequences = dataset.sequences
    users, items = (dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field))
    parts = np.split(items[sequences.items].astype(str), sequences.offsets[1:-1])
    return {str(users[user]): part.tolist() for user, part in zip(sequences.users, parts)}


def test_the_same_seed_gives_the_same_figures(tiny_data):
    parameters = {
        "data_path": str(tiny_data),
        "show_progress": False,
        "epochs": 2,
        "finetune_epochs": 2,
        "hidden_size": 16,
        "top_k": 3,
    }
    first, second = (run("RaSeRec", "tiny", config_dict=parameters) for _ in range(2))
    third = run("RaSeRec", "tiny", config_dict={**parameters, "seed": 7})
    for side in ("backbone", "raserec"):
        assert first[side] == second[side]
    assert first["backbone"] != third["backbone"]


def test_bfloat16_autocast_trains(tiny_data):
    parameters = {"data_path": str(tiny_data), "show_progress": False, "epochs": 8, "finetune_epochs": 2, "gpu_id": ""}
    parameters |= {"enable_amp": True, "train_batch_size": 64, "learning_rate": 0.01, "hidden_dropout_prob": 0.1}
    result = run("RaSeRec", "tiny", config_dict=parameters)
    assert result["machine"]["device"] == "cpu"
    assert max(result["valid_curves"]["pretrain"]) > 1.2 * result["valid_curves"]["pretrain"][0]


def test_memory_include_valid_only_chooses_the_headline(tiny_data, capsys):
    parameters = {"data_path": str(tiny_data), "show_progress": False, "epochs": 1, "finetune_epochs": 1}
    without = run("RaSeRec", "tiny", config_dict=parameters)
    table = capsys.readouterr().out
    with_valid = run("RaSeRec", "tiny", config_dict={**parameters, "memory_include_valid": True})
    assert without["raserec"]["test_by_memory"] == with_valid["raserec"]["test_by_memory"]
    assert (without["raserec"]["memory"], with_valid["raserec"]["memory"]) == ("train", "train+valid")
    assert with_valid["raserec"]["test"] == with_valid["raserec"]["test_by_memory"]["train+valid"]["test"]
    figures = np.array(list(without["backbone"]["test"]["unmasked"].values()))
    assert all(f"{value:.4f}" in table for value in figures)


def test_the_mixture_that_validates_best_is_kept(tiny_data):
    parameters = {
        "data_path": str(tiny_data),
        "show_progress": False,
        "epochs": 2,
        "finetune_epochs": 2,
        "resume": True,
        "mixture_tau": 0.1,
        "mixture_top_k": 200,
        **EXACT,
    }
    weights, found = (0.0, 0.3, 0.4), {}
    for weight in weights:  # the same trained model, since the mixture needs no training
        result = run("RaSeRec", "tiny", config_dict={**parameters, "mixture_weight": weight})
        found[weight] = result["raserec"]["valid"]["ndcg@10"]
    assert len(set(found.values())) > 1
    assert len(list(Path("saved").glob("*finetune*.last.pth"))) == 1
    result = run("RaSeRec", "tiny", config_dict={**parameters, "mixture_weight": list(weights)})
    mixture = result["raserec"]["mixture"]
    assert {each["weight"]: each["unmasked"] for each in mixture["tried"]} == found
    best = max(mixture["tried"], key=lambda each: each["unmasked"] + each["masked"])
    assert best != max(mixture["tried"], key=lambda each: each["unmasked"])  # neither protocol alone decides
    assert (mixture["weight"], mixture["tau"]) == (best["weight"], best["tau"])
    assert result["raserec"]["valid"]["ndcg@10"] == best["unmasked"]


def test_drift_is_measured_on_older_memories_and_changes_nothing_else(tiny_data):
    parameters = {"data_path": str(tiny_data), "show_progress": False, "epochs": 2, "finetune_epochs": 4, "top_k": 3}
    parameters |= {**EXACT, "learning_rate": 0.01, "alpha": 0.0}  # so the retrieved memories decide the ranking
    plain = run("RaSeRec", "tiny", config_dict=parameters)
    result = run("RaSeRec", "tiny", config_dict={**parameters, "drift_shares": [1, 0.5]})
    half, whole = result["drift"]
    assert (half["share"], whole["share"]) == (0.5, 1.0)
    assert 0.4 * whole["memories"] < half["memories"] < 0.6 * whole["memories"] + 40  # rounded up for each user
    assert whole["test"] == result["raserec"]["test_by_memory"]["train"]["test"]
    assert whole["improvement"] == result["raserec"]["test_by_memory"]["train"]["improvement"]
    assert half["test"] != whole["test"]
    assert result["raserec"] == plain["raserec"]
    assert "drift" not in plain
