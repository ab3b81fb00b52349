from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recbole_raserec import SequenceDataset
from recbole_raserec.backbones.encode import encode_prefixes
from recbole_raserec.backbones.layers.average import FourierFilter, LocalFilter, MovingAverage
from recbole_raserec.backbones.sasrec import SASRec
from recbole_raserec.data.batches import PackedLoader


def shaken(module):
    """A layer with changed weights, because initially every dimension has the same average."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.double().eval()


@pytest.mark.parametrize("window", [1, 3, 20])
def test_average_is_that_of_a_loop(window):
    torch.manual_seed(0)
    module = shaken(MovingAverage(4, window, 0.5, 1e-12))
    blocks = [torch.randn(2, 7, 4).double(), torch.randn(3, 2, 4).double()]
    shapes = [(2, 7, 3), (3, 2, 2)]
    weights, expected = module.logits.exp(), []
    for block, (_, length, last) in zip(blocks, shapes):
        for row in block:
            for at in range(length - last, length):
                ages = range(min(window, at + 1))
                low = sum(weights[age] * row[at - age] for age in ages) / sum(weights[age] for age in ages)
                mixed = low + module.high**2 * (row[at] - low)
                expected.append(F.layer_norm(mixed + row[at], (4,), module.norm.weight, module.norm.bias, 1e-12))
    hidden, asking = (
        torch.cat([block.flatten(0, 1) for block in some]) for some in (blocks, [blocks[0][:, -3:], blocks[1]])
    )
    found = module(hidden, asking, shapes)
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("window", [1, 3, 20])
def test_filter_is_that_of_a_loop(window):
    torch.manual_seed(0)
    module = shaken(LocalFilter(4, window, 0.5, 1e-12))
    block = torch.randn(2, 7, 4).double()
    expected = [
        F.layer_norm(
            row[at] + sum(module.weights[age] * row[at - age] for age in range(min(window, at + 1))),
            (4,), module.norm.weight, module.norm.bias, 1e-12,
        )
        for row in block for at in range(4, 7)
    ]  # fmt: skip
    found = module(block.flatten(0, 1), block[:, -3:].flatten(0, 1), [(2, 7, 3)])
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("window", [1, 5, 20])
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_fourier_filter_keeps_the_lowest_frequencies(window, length):
    """The lowest frequencies of a real sequence are cosines and sines of its whole length."""
    torch.manual_seed(0)
    module = shaken(FourierFilter(4, window, 0.5, 1e-12))
    block, expected = torch.randn(2, length, 4).double(), []
    at = torch.arange(length).double()
    for row in block:
        low = torch.zeros_like(row)
        for frequency in range(min(window // 2 + 1, length // 2 + 1)):
            own = 1 if frequency in (0, length / 2) else 2  # the others stand for a negative frequency too
            for wave in (torch.cos, torch.sin):
                w = wave(2 * torch.pi * frequency * at / length)
                low += own / length * torch.outer(w, w @ row)
        mixed = low + module.high**2 * (row - low)
        expected.append(F.layer_norm(mixed + row, (4,), module.norm.weight, module.norm.bias, 1e-12))
    found = module(block.flatten(0, 1), block.flatten(0, 1), [(2, length, length)])
    torch.testing.assert_close(found, torch.cat(expected))
    last = module(block.flatten(0, 1), block[:, -1], [(2, length, 1)])
    torch.testing.assert_close(last, torch.stack([rows[-1] for rows in expected]))


@pytest.fixture
def model_and_data(make_config):
    no_dropout = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    config = make_config(average_weight=0.7, average_window=3, **no_dropout)
    dataset = SequenceDataset(config)
    train, _, _ = dataset.build()
    return shaken(SASRec(config, dataset)), dataset, train


def test_packed_loss_is_that_of_prefix_samples(model_and_data):
    model, dataset, train = model_and_data
    samples = train[torch.arange(len(train))]
    loader = PackedLoader(dataset.sequences, "item_id_list", model.max_seq_length, budget=100, seed=0)
    packed = sum(model.packed_loss(batch, budget=len(train)) for batch in loader)
    packed.backward()
    torch.testing.assert_close(packed, model.calculate_loss(samples))
    averages = [block.layer.average for block in model.layers]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for average in averages for p in average.parameters())


def test_vectors_do_not_depend_on_who_is_encoded_beside(model_and_data):
    model, _, train = model_and_data
    samples = train[torch.arange(len(train))]
    alone = [model(samples["item_id_list"][r : r + 1], samples["item_length"][r : r + 1]) for r in range(40)]
    vectors = torch.from_numpy(encode_prefixes(model, train.prefixes))
    torch.testing.assert_close(vectors[:40], torch.cat(alone).float(), rtol=1e-4, atol=1e-5)


def test_without_weight_there_is_no_average(make_config):
    config = make_config()
    dataset = SequenceDataset(config)
    dataset.build()
    assert not [name for name in SASRec(config, dataset).state_dict() if "average" in name]
