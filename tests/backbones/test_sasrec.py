from __future__ import annotations

import pytest
import recbole.model.sequential_recommender as recbole_models
import torch
import torch.nn.functional as F

from recbole_raserec import SequenceDataset
from recbole_raserec.backbones.duorec import DuoRec
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.backbones.hstu import HSTU
from recbole_raserec.backbones.sasrec import SASRec
from recbole_raserec.data.batches import PackedLoader
from recbole_raserec.errors import ConfigError

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


@pytest.fixture
def twins(make_config):
    """Our SASRec and RecBole's own with the same weights, and the data."""
    config = make_config(**NO_DROPOUT)
    dataset = SequenceDataset(config)
    train, _, test = dataset.build()
    ours, stock = SASRec(config, dataset), recbole_models.SASRec(config, dataset)
    with torch.no_grad():
        for parameter in ours.parameters():  # larger weights, because softmax is initially flat
            parameter.add_(0.3 * torch.randn_like(parameter))
    stock.load_state_dict(ours.state_dict())
    return ours, stock, dataset, train, test


def test_user_vectors_are_recboles(twins):
    ours, stock, _, _, test = twins
    batch = test[torch.arange(len(test))]
    args = (batch["item_id_list"], batch["item_length"])
    torch.testing.assert_close(ours(*args), stock(*args), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.full_sort_predict(batch), stock.full_sort_predict(batch), rtol=1e-4, atol=1e-5)


def test_packed_loss_and_gradient_are_those_of_recboles_prefix_samples(twins):
    ours, stock, dataset, train, _ = twins
    ours.double()
    stock.double()
    assert dataset.sequences.lengths.max() > ours.max_seq_length + 5  # windows are exercised
    samples = train[torch.arange(len(train))]
    hidden = stock(samples["item_id_list"], samples["item_length"])
    expected = F.cross_entropy(hidden @ stock.item_embedding.weight.T, samples["item_id"], reduction="sum")
    expected.backward()

    loader = PackedLoader(dataset.sequences, "item_id_list", ours.max_seq_length, budget=100, seed=0)
    total = sum(ours.packed_loss(batch, budget=1) for batch in loader)
    total.backward()

    torch.testing.assert_close(total, expected, rtol=1e-9, atol=0)
    for (name, mine), theirs in zip(ours.named_parameters(), stock.parameters()):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-8, msg=name)


def test_a_batch_is_divided_by_its_budget(twins):
    ours, _, dataset, _, _ = twins
    batch = next(iter(PackedLoader(dataset.sequences, "item_id_list", 8, budget=64, seed=0)))
    assert ours.packed_loss(batch, 64).item() == pytest.approx(ours.packed_loss(batch, 1).item() / 64, rel=1e-6)


@pytest.mark.parametrize("backbone", [SASRec, DuoRec])
def test_score_tau_makes_scores_cosines_wherever_they_are_taken(make_config, backbone):
    config = make_config(backbone=backbone.__name__, score_tau=0.2, **NO_DROPOUT)
    dataset = SequenceDataset(config)
    train, _, _ = dataset.build()
    ours, stock = backbone(config, dataset).double(), recbole_models.SASRec(config, dataset).double()
    stock.load_state_dict(ours.state_dict())
    samples = train[torch.arange(len(train))]
    hidden = stock(samples["item_id_list"], samples["item_length"])
    items = stock.item_embedding.weight
    expected = F.cosine_similarity(hidden[:, None], items[None], dim=2) / 0.2  # [B, V]

    torch.testing.assert_close(ours.full_sort_predict(samples), expected)
    own = samples["item_id"]
    torch.testing.assert_close(ours.predict(samples), expected[torch.arange(len(own)), own])
    mean = F.cross_entropy(expected, own)
    torch.testing.assert_close(ours.calculate_loss(samples), mean)
    loader = PackedLoader(dataset.sequences, "item_id_list", ours.max_seq_length, budget=100, seed=0)
    packed = sum(SASRec.packed_loss(ours, batch, budget=len(own)) for batch in loader)
    torch.testing.assert_close(packed, mean)
    vectors = torch.from_numpy(encode_prefixes(ours, train.prefixes))
    torch.testing.assert_close(vectors @ ours.item_vectors.float().T, expected.float(), rtol=1e-4, atol=1e-5)


def test_score_tau_needs_the_full_softmax(make_config):
    config = make_config(score_tau=0.1, softmax_negatives=5)
    dataset = SequenceDataset(config)
    dataset.build()
    with pytest.raises(ConfigError, match=r"score_tau=0.1.*--softmax_negatives=0"):
        SASRec(config, dataset)


@pytest.mark.parametrize("backbone", [SASRec, DuoRec, HSTU])
def test_embeddings_have_their_own_dropout_if_it_is_given(make_config, backbone):
    def first_tokens(**more):
        config = make_config(backbone=backbone.__name__, hidden_dropout_prob=0.2, attn_dropout_prob=0.0, **more)
        dataset = SequenceDataset(config)
        dataset.build()
        model = backbone(config, dataset)
        seen = []
        model.dropout.register_forward_hook(lambda _, __, tokens: seen.append(tokens))
        torch.manual_seed(1)
        model.encode([torch.ones(64, 3, dtype=torch.long)], [3])
        return seen[0], model

    given, model = first_tokens(embedding_dropout_prob=0.5)
    assert (given == 0).float().mean() == pytest.approx(0.5, abs=0.03)
    others = {module.p for name, module in model.named_modules() if hasattr(module, "p") and name != "dropout"}
    assert others == {0.0, 0.2}
    alike, without = first_tokens(embedding_dropout_prob=0.2)[0], first_tokens()[0]
    assert torch.equal(alike, without)
    assert (without == 0).float().mean() == pytest.approx(0.2, abs=0.03)
    assert not (first_tokens(embedding_dropout_prob=0)[0] == 0).any()
