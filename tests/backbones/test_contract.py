"""Tests of the protocol for every backbone: :mod:`recbole_raserec.backbones.protocol`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from recbole_raserec import Config, ConfigError, RaSeRec, SequenceDataset, backbones
from recbole_raserec.backbones import build_backbone
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.backbones.heads import InnerProduct
from recbole_raserec.backbones.sasrec import attention_blocks
from recbole_raserec.backbones.stack import Block, Stack
from recbole_raserec.config.properties import backbone_names, properties_folder
from recbole_raserec.data.batches import PackedLoader
from recbole_raserec.training.backbone import BackboneTrainer, PrefixTrainer, backbone_trainer

OURS = {"hidden_size": 16, "inner_size": 32, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
VARIANTS: dict[str, dict[str, object]] = {
    **{name: {"backbone": name} for name in backbone_names()},
    "SASRec with averages and cosines": {"backbone": "SASRec", "average_weight": 0.6, "score_tau": 0.2, **OURS},
    "SASRec with filters": {"backbone": "SASRec", "average_weight": 0.6, "average_form": "filter", **OURS},
    "SASRec with Fourier filters": {"backbone": "SASRec", "average_weight": 0.6, "average_form": "fourier", **OURS},
    "HSTU": {"backbone": "HSTU", **OURS},
    "SASRec": {"backbone": "SASRec", **OURS},
    "DuoRec": {"backbone": "DuoRec", "contrast_weight": 0.0, **OURS},
}
# Models whose forward, loss or scores do not fit a history and its next item. Each error names the reason.
REFUSED = {
    "CORE", "DIEN", "DIN", "FDSA", "FEARec", "FPMC", "GRU4RecCPR", "GRU4RecF", "GRU4RecKG", "HGN", "KSR", "NPE",
    "RepeatNet", "S3Rec", "SASRecCPR", "SASRecF", "TransRec",
}  # fmt: skip
OTHER_LAYER = "a stack with a layer that is not causal"


class NonCausal(nn.Module):
    """A layer for this test: each position reads the mean of its whole window."""

    causal = False

    def forward(self, tokens, asking, shapes, selected=None):
        parts = tokens.split([rows * length for rows, length, _ in shapes])
        means = [
            part.view(rows, length, -1).mean(dim=1).repeat_interleave(last, dim=0)
            for part, (rows, length, last) in zip(parts, shapes)
        ]
        output = asking + torch.cat(means)
        return output if selected is None else output[selected]


def non_causal(config, dataset):
    blocks = attention_blocks(config)
    blocks.insert(1, Block(NonCausal(), blocks[0].feed_forward))
    embeddings = nn.Embedding(dataset.item_num, 16, padding_idx=0), nn.Embedding(8, 16)
    return Stack(config, dataset, *embeddings, blocks, InnerProduct())


@pytest.fixture
def of_backbone(tiny_data):
    """A configuration on the small data. RecBole's models name their sizes differently, so they keep their defaults."""

    def make(**values):
        fixed = {"data_path": str(tiny_data), "show_progress": False, "epochs": 1, "MAX_ITEM_LIST_LENGTH": 8}
        return Config("RaSeRec", "tiny", config_dict={**fixed, **values})

    return make


class Case(NamedTuple):
    backbone: Any
    again: Any  # the same, with other weights
    dataset: SequenceDataset
    train: SequenceDataset

    def samples(self):
        return self.train[torch.arange(len(self.train))]

    def forward(self, backbone=None):
        samples = self.samples()
        return (backbone or self.backbone)(samples["item_id_list"], samples["item_length"], samples["user_id"])


def lively(name, of_backbone):
    """A backbone in evaluation mode and away from its start, where all scores are alike."""
    make = non_causal if name == OTHER_LAYER else build_backbone
    config = of_backbone(**VARIANTS.get(name, OURS))
    dataset = SequenceDataset(config)
    train, _, _ = dataset.build()
    backbone, again = (make(config, dataset).eval() for _ in range(2))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Case(backbone, again, dataset, train)


# Those that the README names, and ours; RecBole's others are slow.
QUICK = {
    "SASRec",
    "DuoRec",
    "SASRec with averages and cosines",
    "SASRec with filters",
    "SASRec with Fourier filters",
    "HSTU",
    "GRU4Rec",
    "BERT4Rec",
    "NARM",
    "Caser",
    OTHER_LAYER,
}
EVERY = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in [*sorted(set(VARIANTS) - REFUSED), OTHER_LAYER]
]


@pytest.fixture(params=EVERY)
def case(request, of_backbone):
    """Each backbone that can serve."""
    return lively(request.param, of_backbone)


OF_OURS = {name for name, values in VARIANTS.items() if values["backbone"] in backbones.OURS}


@pytest.fixture(params=sorted(OF_OURS - {"SASRec with Fourier filters"}))
def causal(request, of_backbone):
    """Each causal one."""
    case = lively(request.param, of_backbone)
    assert case.backbone.causal
    return case


def test_every_backbone_of_ours_has_its_yaml():
    assert set(backbones.OURS) <= set(backbone_names())
    assert all((properties_folder() / "model" / f"{name}.yaml").is_file() for name in backbones.OURS)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_serve_is_refused_with_its_reason(name, of_backbone):
    config = of_backbone(backbone=name)
    dataset = SequenceDataset(config)
    dataset.build()
    with pytest.raises(ConfigError, match=f"backbone='{name}': cannot serve as a backbone: it"):
        build_backbone(config, dataset)


@pytest.mark.parametrize("name", ["SASRecF", "GRU4RecF", "FDSA"])
def test_a_model_of_features_cannot_serve_even_where_there_are_features(name, of_backbone, tiny_data):
    """Its file would not hold them."""
    items = "".join(f"{item}\tc{item % 3}\n" for item in range(1, 26))
    (tiny_data / "tiny" / "tiny.item").write_text("item_id:token\tclass:token_seq\n" + items)
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}
    config = of_backbone(backbone=name, load_col=columns, selected_features=["class"])
    dataset = SequenceDataset(config)
    dataset.build()
    with pytest.raises(ConfigError, match="it cannot be built from the numbers of users and items alone"):
        build_backbone(config, dataset)


def test_a_history_is_a_vector_as_wide_as_the_items(case):
    vectors, items = case.forward(), case.backbone.item_vectors
    assert vectors.shape == (len(case.train), items.shape[1])
    assert len(items) == case.dataset.item_num
    bias = case.backbone.item_bias
    assert bias is None or bias.shape == (case.dataset.item_num,)


def test_encoding_many_prefixes_is_forward(case):
    encoded = torch.from_numpy(encode_prefixes(case.backbone, case.train.prefixes))
    torch.testing.assert_close(encoded, case.forward().float(), rtol=1e-4, atol=1e-5)


def test_a_trimmed_batch_gives_the_same_vectors(case):
    short = case.train[torch.from_numpy(np.flatnonzero(case.train.prefixes.lengths <= 3))]
    whole = case.backbone(short["item_id_list"], short["item_length"], short["user_id"])
    cut = short["item_id_list"][:, :3] if case.backbone.trims else short["item_id_list"]
    torch.testing.assert_close(case.backbone(cut, short["item_length"], short["user_id"]), whole, rtol=1e-4, atol=1e-5)


def test_the_loss_of_samples_trains_every_weight_that_scores(case):
    samples = case.backbone.transform(case.dataset, case.samples())
    loss = case.backbone.calculate_loss(samples)
    loss.backward()
    assert loss.item() > 0
    gradients = {name: p.grad for name, p in case.backbone.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    items = next(gradient for name, gradient in gradients.items() if name.endswith("item_embedding.weight"))
    assert (items[1:].abs().sum(dim=1) > 0).all()
    if isinstance(case.backbone, Stack):
        moved = {name for name, gradient in gradients.items() if gradient.abs().sum() > 0}
        assert moved >= {name for name, _ in case.backbone.named_parameters() if not name.endswith("key.bias")}


def test_weights_are_saved_and_loaded(case):
    assert not torch.allclose(case.forward(case.again), case.forward())
    case.again.load_state_dict(case.backbone.state_dict())
    assert torch.equal(case.forward(case.again), case.forward())
    assert list(case.again.state_dict()) == list(case.backbone.state_dict())


def test_a_causal_backbone_does_not_see_the_future(causal):
    """Perturbing the items after a position changes nothing up to it, and something after it."""
    case = causal
    window = torch.randint(1, case.dataset.item_num, (3, 8))
    changed = torch.cat([window[:, :5], window[:, 5:] % (case.dataset.item_num - 1) + 1], dim=1)
    before, after = (case.backbone.encode_window(each) for each in (window, changed))
    torch.testing.assert_close(after[:, :5], before[:, :5], rtol=0, atol=0)
    assert (after[:, 5:] - before[:, 5:]).abs().amax(dim=(1, 2)).min() > 1e-3


def test_the_packed_loss_of_a_causal_backbone_is_the_loss_of_its_samples(causal):
    case = causal
    part = case.dataset.sequences.train_part()
    case.backbone.use_training(part)
    loader = PackedLoader(case.dataset.sequences, "item_id_list", 8, budget=100, seed=0)
    packed = sum(case.backbone.packed_loss(batch, budget=len(part)) for batch in loader)
    torch.testing.assert_close(packed, case.backbone.calculate_loss(case.samples()), rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_not_causal_is_trained_on_prefixes(of_backbone):
    config = of_backbone(**OURS)
    dataset = SequenceDataset(config)
    dataset.build()
    model = RaSeRec(config, dataset)
    assert isinstance(backbone_trainer(config, model, dataset), BackboneTrainer)
    model.backbone = non_causal(config, dataset)
    stage = backbone_trainer(config, model, dataset)
    assert isinstance(stage, PrefixTrainer)
    valid = stage.run(dataset.sequences.valid_part(), show_progress=False)
    assert 0 <= valid["ndcg@10"] <= 1


def test_a_layer_that_is_not_causal_can_be_trained_with_a_sampled_softmax(of_backbone):
    """As is the default for a large catalogue. Lazy Adam takes sparse gradients alone."""
    config = of_backbone(**VARIANTS["SASRec with Fourier filters"], softmax_negatives=5)
    dataset = SequenceDataset(config)
    dataset.build()
    model = RaSeRec(config, dataset)
    before = model.backbone.item_embedding.weight.detach().clone()
    backbone_trainer(config, model, dataset).run(dataset.sequences.valid_part(), show_progress=False)
    assert not torch.equal(model.backbone.item_embedding.weight, before)
