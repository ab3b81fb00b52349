from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_raserec import Recommender, SequenceDataset, run
from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.safeguard import Safeguard
from recbole_raserec.reporting.result import Result
from recbole_raserec.reporting.text import format_result
from recbole_raserec.retrieval.combination import BACKBONE, FULL, Combination
from recbole_raserec.retrieval.mixture import Mixture
from recbole_raserec.training.build import build_model
from recbole_raserec.training.choose import candidates, choose
from recbole_raserec.training.finetune import finetune, popularity_weights
from recbole_raserec.training.queries import rank_queries
from recbole_raserec.training.remember import BankSettings, Reader, remember

METRICS = Metrics(("Recall", "NDCG"), topk=(5, 10), decimals=6, watched="ndcg@10")
LISTS = {
    "safeguard": True,
    "retrieval_strength": [0.5, 1.0],
    "popularity_adjustment": [0.0, 0.3],
    "mixture_weight": [0.0, 0.3],
    "mixture_popularity_exponent": [0.0, 0.5],
    "mixture_top_k": 7,
}


def stage_three(config):
    """A model with random item vectors and biases, and its memories."""
    dataset = SequenceDataset(config)
    dataset.build()
    model = build_model(config, dataset)
    if model.backbone.item_bias is not None:
        torch.nn.init.normal_(model.backbone.item_bias)
    remembered = remember(Reader.of(config, model), dataset.sequences, BankSettings.of(config))
    model.count_items(torch.from_numpy(remembered.counts))
    return dataset, model.eval(), remembered


@pytest.mark.parametrize("backbone", ["SASRec", "BERT4Rec"])
@torch.no_grad()
def test_scores_of_a_combination_are_those_of_the_formula(make_config, backbone):
    """BERT4Rec has a bias of its own."""
    config = make_config(backbone=backbone, mixture_weight=0.3, mixture_top_k=7)
    dataset, model, remembered = stage_three(config)
    counts = np.bincount(dataset.sequences.training_only().items, minlength=dataset.item_num)
    assert remembered.counts.tolist() == counts.tolist()
    h, memories = remembered.valid.to(torch.device("cpu"), model.depth)[torch.arange(9)]
    own, full = (model.scorer(each)(h, memories) for each in (BACKBONE, FULL))
    bias = model.backbone.item_bias
    plain = (h @ model.item_vectors.T + (0 if bias is None else bias)).T
    torch.testing.assert_close(own, plain)
    assert not torch.allclose(own, full)
    for strength, adjustment in ((1.0, 0.2), (0.25, 0.0), (0.5, 0.7), (0.0, 0.1)):
        scores = model.scorer(Combination(FULL.mixture, strength, adjustment))(h, memories)
        penalty = torch.tensor([adjustment * math.log(1 + count) for count in counts])
        expected = (1 - strength) * own + strength * full - penalty[:, None].float()
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
        mixed = model.scorer(Combination(Mixture(0.3, 0.2, adjustment), strength, adjustment))(h, memories)
        before, after = (torch.softmax(each[1:], dim=0) for each in (expected, mixed))
        voted = after - 0.7 * before
        assert voted.min() > -1e-6  # the rest of the softmax is the memories'
        torch.testing.assert_close(voted.sum(dim=0), torch.full((9,), 0.3), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_parts_of_an_explanation_sum_to_the_score(make_config):
    _, model, remembered = stage_three(make_config())
    for weights in model.augmentation.parameters():
        if weights.dim() == 2:  # so the contributions are not small; the biases are 0
            torch.nn.init.normal_(weights, std=0.5)
    h, memories = remembered.valid.to(torch.device("cpu"), model.depth)[torch.tensor([4])]
    combinations = FULL, BACKBONE, Combination(Mixture(0.3, 0.2, 0.5), 0.4, 0.3)
    for voters, combination in product((None, 3), combinations):
        scorer = replace(model.scorer(combination), voters=voters)
        reasons = scorer.reasons(h, memories, 5)
        assert reasons.score == pytest.approx(float(scorer.products(h, memories)[5, 0]), abs=1e-5)
        mixture = combination.mixture
        votes = np.exp(reasons.cosine / mixture.tau) / (1 + remembered.counts[memories.items[0]]) ** mixture.exponent
        votes[len(votes) if voters is None else voters :] = 0
        assert reasons.vote == pytest.approx(mixture.weight * votes / votes.sum(), abs=1e-6)
        penalty = combination.adjustment * math.log(1 + remembered.counts[5])
        total = reasons.own + reasons.contribution.sum() - penalty
        assert reasons.score == pytest.approx(total, abs=1e-4)
        alpha = 1 - combination.strength * (1 - model.augmentation.alpha)
        assert reasons.own == pytest.approx(alpha * float(h[0] @ model.item_vectors[5]), abs=1e-6)


def test_the_best_combination_that_passes_is_kept(make_config):
    config = make_config(**LISTS)
    _, model, remembered = stage_three(config)
    valid = remembered.valid.to(torch.device("cpu"), model.depth)
    assert len(candidates(config)) == 12  # an exponent without a mixture is nothing
    choice = choose(config, model, valid, remembered.counts)
    assert len(choice.tried) == 12
    assert choice.note
    passing = [each for each, row in zip(candidates(config), choice.tried) if "refused" not in row]
    found, base = ranks_of_candidates(config, model, valid)
    kept = guard_of(base).most_certain({each: found[each] for each in passing}) if passing else BACKBONE
    assert choice.combination == kept
    free = choose(config.changed(safeguard=False), model, valid, remembered.counts)
    assert free.note is None
    best = max(free.tried, key=lambda row: row["unmasked"] + row["masked"])
    assert free.valid["ndcg@10"] == best["unmasked"]
    named = {key: value for key, value in best.items() if key in ("weight", "tau", "exponent")}
    assert named == free.combination.mixture.plain()


def guard_of(base):
    """Its groups are of no account where nothing is refused by them."""
    return Safeguard(base, {}, METRICS)


def ranks_of_candidates(config, model, valid):
    base = rank_queries(model.scorer(BACKBONE), valid, 4096, False)
    return {each: rank_queries(model.scorer(each), valid, 4096, False) for each in candidates(config)}, base


def test_what_the_safeguard_refuses_is_not_kept(make_config, monkeypatch):
    config = make_config(**LISTS)
    _, model, remembered = stage_three(config)
    valid = remembered.valid.to(torch.device("cpu"), model.depth)
    found, base = ranks_of_candidates(config, model, valid)
    first = guard_of(base).most_certain(found)
    answers = iter(["refused" if each == first else None for each in found])
    monkeypatch.setattr(Safeguard, "refusal", lambda *_: next(answers))
    choice = choose(config, model, valid, remembered.counts)
    assert choice.combination == guard_of(base).most_certain({key: of for key, of in found.items() if key != first})


def test_without_a_combination_that_passes_there_is_no_retrieval(tiny_data):
    """An untrained attention has nothing to offer: ranks, table and recommendations are the backbone's."""
    parameters = {"data_path": str(tiny_data), "show_progress": False, "epochs": 3, "learning_rate": 0.01}
    parameters |= {
        "finetune_epochs": 1,
        "finetune_learning_rate": 1e-9,
        "top_k": 5,
        "hidden_size": 16,
        "mixture_weight": 0.0,
    }
    result = run("RaSeRec", "tiny", config_dict=parameters)
    assert result["raserec"]["choice"]["retrieval"] is False
    assert result["raserec"]["test"] == result["backbone"]["test"]
    assert all(row["refused"] for row in result["raserec"]["mixture"]["tried"])
    table = " ".join(format_result(Result.from_json(json.loads(result.to_json()))).split())
    assert "safeguard: no retrieval: under each of 9 combinations" in table
    assert "mixture by validation" not in table
    recommender = Recommender.load(result["model_file"])
    assert recommender.view().trained.model.combination == BACKBONE
    assert not recommender.retrieves
    history, known = recommender.items[:3], recommender.items[9]
    before = recommender.recommend([history])
    recommender.memory.add(history, known)
    pd.testing.assert_frame_equal(recommender.recommend([history]), before)
    recommender.memory.add(history, "new")
    assert "new" in recommender.recommend([history], k=len(recommender.items) - 3)["item"].tolist()
    recommender.memory.close()


@pytest.mark.parametrize("exponent", [0.25, 1.0])
def test_loss_weights_have_the_mean_one(exponent):
    rng = np.random.default_rng(0)
    counts = np.r_[0, rng.integers(1, 90, 20)]
    targets = rng.integers(1, 21, 500)
    weights = popularity_weights(targets, counts, exponent)
    assert weights is not None
    assert float(weights.mean()) == pytest.approx(1, abs=1e-6)
    raw = np.array([int(counts[target]) ** -exponent for target in targets])
    np.testing.assert_allclose(weights.numpy(), raw * 500 / raw.sum(), rtol=1e-5)
    assert popularity_weights(targets, counts, 0.0) is None


def test_the_loss_is_the_weighted_mean_of_the_pairs(make_config):
    _, model, remembered = stage_three(make_config())
    train = remembered.train.to(torch.device("cpu"), model.top_k)
    targets, rows = torch.from_numpy(train.prefixes.targets), torch.arange(12)
    each = torch.rand(12)
    single = torch.stack([model.loss(*train[row[None]], targets[row[None]]) for row in rows])
    torch.testing.assert_close(model.loss(*train[rows], targets[rows], each), (single * each).mean())


def test_a_saved_model_recommends_by_its_combination(make_config, tmp_path):
    chosen = {"retrieval_strength": 0.5, "popularity_adjustment": 0.3, "mixture_weight": 0.3}
    config = make_config(**{**LISTS, "safeguard": False, **chosen, "mixture_popularity_exponent": 0.5})
    result = run("RaSeRec", "tiny", config_dict=config.external_config_dict)
    recommender = Recommender.load(Path(result["model_file"]), store=tmp_path / "memory")
    model = recommender.view().trained.model
    mixture = Mixture(0.3, 0.2, 0.5)
    assert {**mixture.plain(), "tried": ANY} == result["raserec"]["mixture"]
    assert model.combination == Combination(mixture, 0.5, 0.3)
    plain = run("RaSeRec", "tiny", config_dict={**make_config().external_config_dict, "resume": True})
    assert result["backbone"] == plain["backbone"]  # nothing of the combination is in its figures
    assert result["raserec"]["test"] != plain["raserec"]["test"]
    dataset = SequenceDataset(config)
    dataset.build()
    fresh = build_model(config, dataset)
    fresh.load_state_dict(model.state_dict())
    fresh.count_items(torch.from_numpy(np.bincount(dataset.sequences.training_only().items, minlength=26)))
    torch.testing.assert_close(fresh.scorer(model.combination).items, model.scorer().items)
    assert not torch.allclose(model.scorer().items[:, -1], torch.zeros(26))
    recommender.memory.close()


def test_fine_tuning_with_weights_gives_another_model_under_another_name(make_config):
    found = []
    for exponent in (0.0, 0.5):
        config = make_config(finetune_popularity_exponent=exponent)
        dataset, model, remembered = stage_three(config)
        finetune(config, model, dataset.sha256, remembered)
        found.append(model.augmentation.sequence_branch.second.output.weight.detach().clone())
    assert not torch.allclose(*found)
    assert len(list(Path("saved").glob("*finetune*.last.pth"))) == 2


def test_a_combination_without_anything_has_no_retrieval():
    assert not BACKBONE.retrieves
    assert replace(BACKBONE, mixture=Mixture(0.1, 0.2)).retrieves
    assert FULL.retrieves
