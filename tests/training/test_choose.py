from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec import Recommender, SequenceDataset, run
from recbole_raserec.evaluation.groups import length_groups, popularity_groups
from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.evaluation.safeguard import GAIN, GROUP, OTHER, OVERALL, Safeguard
from recbole_raserec.pipeline import build_model
from recbole_raserec.reporting.result import Result
from recbole_raserec.reporting.text import format_result
from recbole_raserec.retrieval.combination import BACKBONE, FULL, Combination
from recbole_raserec.retrieval.mixture import Mixture
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


def slow_z(base, new, value) -> float:
    gain = [value(int(after)) - value(int(before)) for before, after in zip(base, new)]
    spread = math.sqrt(math.fsum(each * each for each in gain))
    return math.fsum(gain) / spread if spread else 0.0


VALUES = {f"recall@{k}": lambda rank, k=k: float(rank <= k) for k in (5, 10)}
VALUES |= {f"ndcg@{k}": lambda rank, k=k: 1 / math.log2(rank + 1) if rank <= k else 0.0 for k in (5, 10)}


@given(st.integers(0, 10_000), st.floats(-0.5, 0.9), st.integers(20, 300))
def test_the_rule_is_that_of_its_docstring(seed, better, users):
    rng = np.random.default_rng(seed)
    counts = np.r_[0, rng.integers(1, 30, 40)]
    targets, lengths = rng.integers(1, 41, users), rng.integers(1, 60, users)
    base = [rng.integers(1, 25, users) for _ in range(2)]
    moved = rng.random(users) < 0.3
    new = [np.maximum(1, ranks - moved * np.round(rng.normal(6 * better, 4, users)).astype(int)) for ranks in base]
    groups = popularity_groups(targets, counts)
    groups = {name: rows for name, rows in groups.items() if name.startswith("quintile")} | length_groups(lengths)
    both = sum(
        np.array([VALUES["ndcg@10"](int(a)) - VALUES["ndcg@10"](int(b)) for b, a in zip(base[p], new[p])])
        for p in (0, 1)
    )
    proof = both.sum() / math.sqrt((both**2).sum()) if both.any() else 0.0
    passes = proof > GAIN
    for p in (0, 1):
        for value in VALUES.values():
            passes &= slow_z(base[p], new[p], value) >= OVERALL
        for rows in groups.values():
            for name, value in VALUES.items():
                passes &= slow_z(base[p][rows], new[p][rows], value) >= (GROUP if name == "ndcg@10" else OTHER)
    guard = Safeguard.of(Ranks(*base), targets, lengths, counts, METRICS)
    assert (guard.refusal(Ranks(*new)) is None) == passes


def test_both_answers_of_the_rule_occur():
    assert (OVERALL, GROUP, OTHER, GAIN) == (0.0, -1.64, -2.58, 1.0)  # docs/safeguard.md promises them
    base = Ranks(np.full(400, 9), np.full(400, 9))
    guard = Safeguard.of(base, np.tile([1, 2], 200), np.full(400, 7), np.array([0, 5, 50]), METRICS)
    better = np.where(np.arange(400) < 100, 3, 9)
    assert guard.refusal(Ranks(better, better)) is None
    assert guard.refusal(base) == "the gain in ndcg@10 is too small (0.0 standard errors)"
    unmasked_only = guard.refusal(Ranks(better, np.where(np.arange(400) < 100, 9, 11)))
    assert unmasked_only is not None
    assert unmasked_only.startswith("masked recall@10 of all users falls by 17.3 standard errors")
    row = np.arange(400)  # the common item is that of odd rows
    mixed = np.where(row % 2, 11, 9)
    guard = Safeguard.of(Ranks(mixed, mixed), np.tile([1, 2], 200), np.full(400, 7), np.array([0, 5, 50]), METRICS)
    common_gain = np.where(row % 2, np.where(row < 200, 3, 11), np.where(row < 40, 11, 9))
    refusal = guard.refusal(Ranks(common_gain, common_gain))
    assert refusal == "unmasked ndcg@10 of items of quintile 1 falls by 4.5 standard errors"


def test_a_group_that_falls_in_another_metric_alone_is_refused():
    """The rare item's users lose R@5 and gain as much N@10: places 5 -> 6, and some 9 -> 3."""
    row = np.arange(400)
    base = np.where(row % 2, 11, np.where(row < 60, 5, 9))
    rare = np.where(row < 60, 6, np.where(row < 76, 3, 9))
    new = np.where(row % 2, np.where(row < 100, 3, 11), rare)
    guard = Safeguard.of(Ranks(base, base), np.tile([1, 2], 200), np.full(400, 7), np.array([0, 5, 50]), METRICS)
    refusal = guard.refusal(Ranks(new, new))
    assert refusal == "unmasked recall@5 of items of quintile 1 falls by 3.6 standard errors"


def test_one_user_who_gains_is_not_enough():
    base = Ranks(np.full(40, 9), np.full(40, 9))
    guard = Safeguard.of(base, np.tile([1, 2], 20), np.full(40, 7), np.array([0, 5, 50]), METRICS)
    one, two = (np.where(np.arange(40) < gaining, 3, 9) for gaining in (1, 2))
    assert guard.refusal(Ranks(one, one)) == "the gain in ndcg@10 is too small (1.0 standard errors)"
    assert guard.refusal(Ranks(two, two)) is None


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
    kept = certain_by_hand(base, {each: found[each] for each in passing}) if passing else BACKBONE
    assert choice.combination == kept
    free = choose(config.changed(safeguard=False), model, valid, remembered.counts)
    assert free.note is None
    best = max(free.tried, key=lambda row: row["unmasked"] + row["masked"])
    assert free.valid["ndcg@10"] == best["unmasked"]
    named = {key: value for key, value in best.items() if key in ("weight", "tau", "exponent")}
    assert named == free.combination.mixture.plain()


def ranks_of_candidates(config, model, valid):
    base = rank_queries(model.scorer(BACKBONE), valid, 4096, False)
    return {each: rank_queries(model.scorer(each), valid, 4096, False) for each in candidates(config)}, base


def certain_by_hand(base, found):
    """:meth:`Safeguard.most_certain`, user by user."""
    value = VALUES["ndcg@10"]

    def both(ranks):
        sides = [(base.unmasked, ranks.unmasked), (base.masked, ranks.masked)]
        return [sum(value(int(a[r])) - value(int(b[r])) for b, a in sides) for r in range(len(base.unmasked))]

    def z(each):
        spread = math.sqrt(math.fsum(x * x for x in each))
        return math.fsum(each) / spread if spread else 0.0

    gained = {key: both(ranks) for key, ranks in found.items()}
    best = max(gained.values(), key=math.fsum)
    equal = [key for key, each in gained.items() if z([x - y for x, y in zip(best, each)]) <= 1]
    return max(equal, key=lambda key: z(gained[key]))


def test_what_the_safeguard_refuses_is_not_kept(make_config, monkeypatch):
    config = make_config(**LISTS)
    _, model, remembered = stage_three(config)
    valid = remembered.valid.to(torch.device("cpu"), model.depth)
    found, base = ranks_of_candidates(config, model, valid)
    first = certain_by_hand(base, found)
    answers = iter(["refused" if each == first else None for each in found])
    monkeypatch.setattr(Safeguard, "refusal", lambda *_: next(answers))
    choice = choose(config, model, valid, remembered.counts)
    assert choice.combination == certain_by_hand(base, {key: of for key, of in found.items() if key != first})


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_the_most_certain_of_the_best_is_that_of_a_loop(seed, count):
    rng = np.random.default_rng(seed)
    base = Ranks(*rng.integers(1, 25, (2, 60)))
    found = {}
    for number in range(count):
        moved = rng.random((2, 60)) < rng.random()
        found[number] = Ranks(*np.maximum(1, [base.unmasked, base.masked] - moved * rng.integers(-3, 8, (2, 60))))
    guard = Safeguard.of(base, np.ones(60, int), np.full(60, 7), np.array([0, 5]), METRICS)
    assert guard.most_certain(found) == certain_by_hand(base, found)


def test_a_small_sure_gain_is_kept_rather_than_a_large_one_of_few():
    base = Ranks(np.full(100, 9), np.full(100, 9))
    row = np.arange(100)
    large = np.where(row < 8, 1, np.where(row < 11, 11, 9))
    small = np.where(row < 60, 8, 9)
    guard = Safeguard.of(base, np.ones(100, int), np.full(100, 7), np.array([0, 5]), METRICS)
    assert guard.most_certain({"large": Ranks(large, large), "small": Ranks(small, small)}) == "large"
    fewer = np.where(row < 3, 1, np.where(row < 5, 11, 9))
    assert guard.most_certain({"large": Ranks(fewer, fewer), "small": Ranks(small, small)}) == "small"


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
