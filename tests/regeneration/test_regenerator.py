from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from recbole_raserec.regeneration.regenerator import Packed, Regenerator, _mixed, bias_of

ITEMS = 9


@pytest.fixture
def model() -> Regenerator:
    torch.manual_seed(3)
    made = Regenerator(torch.randn(ITEMS, 8), max_length=7, max_target=6, diversity=3, inner_size=16, dropout=0.0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.double()


def tokens(model: Regenerator, *rows: list[int]) -> torch.Tensor:
    longest = max(map(len, rows)) + 2
    return torch.tensor([[model.sos, *row, model.eos] + [0] * (longest - len(row) - 2) for row in rows])


def test_the_restricted_loss_is_that_of_all_logits_masked_to_the_sources_tokens(model):
    source, target = tokens(model, [3, 5, 3, 7], [2, 4]), tokens(model, [3, 7], [2, 4])
    hidden, wanted = torch.randn(2, target.shape[1] - 1, 8).double(), target[:, 1:]
    logits = hidden @ model.embedding.weight.T
    allowed = torch.zeros(2, 1, ITEMS + 2, dtype=torch.bool)
    for row, items in enumerate(([3, 5, 7], [2, 4])):
        allowed[row, 0, [*items, model.eos]] = True
    logits = logits.masked_fill(~allowed, -torch.inf)
    expected = F.cross_entropy(logits[wanted > 0], wanted[wanted > 0])
    torch.testing.assert_close(model.restricted_loss(hidden, model.embedding(source), source, wanted), expected)


def test_padding_changes_nothing(model):
    """A pair has the same loss alone and beside a longer pair. The Gumbel noise is turned off."""
    model.mixture = lambda target, *_: torch.full((len(target.real), 3), 1 / 3, dtype=torch.float64)
    short = model.loss(tokens(model, [2, 4]), torch.tensor([0]), tokens(model, [2, 4]), 1.0, 0.0)
    long = model.loss(tokens(model, [1, 3, 5, 6, 7]), torch.tensor([0]), tokens(model, [1, 5, 7, 6]), 1.0, 0.0)
    both = model.loss(
        tokens(model, [2, 4], [1, 3, 5, 6, 7]), torch.tensor([0, 1]), tokens(model, [2, 4], [1, 5, 7, 6]), 1.0, 0.0
    )
    torch.testing.assert_close(both, (short * 3 + long * 5) / 8)


def test_the_condition_encoder_does_not_see_padding(model):
    torch.manual_seed(0)
    alone = model.mixture(Packed(tokens(model, [2, 4])), 0.7)
    torch.manual_seed(0)
    padded = model.mixture(Packed(F.pad(tokens(model, [2, 4]), (0, 2))), 0.7)
    torch.testing.assert_close(alone, padded)
    assert alone.sum().item() == pytest.approx(1)


def test_the_entropy_of_the_mixture_is_added(model):
    source, target = tokens(model, [2, 4, 6]), tokens(model, [2, 6])
    weights = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    model.mixture = lambda *_: weights
    parts = [model.loss(source, torch.tensor([0]), target, 1.0, weight).item() for weight in (0.0, 2.0)]
    assert parts[1] - parts[0] == pytest.approx(-2 * float((weights * weights.log()).sum()))


def test_every_weight_is_trained(model):
    source, target = tokens(model, [2, 4, 6], [1, 5]), tokens(model, [2, 6], [1, 5])
    model.loss(source, torch.tensor([0, 1]), target, 1.0, 1.0).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert np.allclose(model.embedding.weight.grad[0], 0)


def test_every_pair_gets_its_own_mixture_of_its_sources_memories():
    memories, weights = torch.randn(4, 3, 5, 8), torch.rand(7, 3)
    of = torch.tensor([0, 0, 0, 1, 3, 3, 3])  # a source without pairs, and different numbers of them
    expected = torch.einsum("pk,pkld->pld", weights, memories[of])
    torch.testing.assert_close(_mixed(memories, weights, of), expected)


def test_packed_layers_are_torchs_layers_on_padded_rows(model):
    """Torch's decoder layer with our weights. Its self attention is not causal, and its memory has padding."""
    ours = model.decoder[0]
    theirs = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True).double()
    for attention, own in ((theirs.self_attn, ours.attention), (theirs.multihead_attn, ours.cross)):
        attention.in_proj_weight, attention.in_proj_bias = own.project.weight, own.project.bias
        attention.out_proj.weight, attention.out_proj.bias = own.output.weight, own.output.bias
    theirs.linear1, theirs.linear2 = ours.feed_forward[0], ours.feed_forward[3]
    theirs.norm1, theirs.norm2, theirs.norm3 = ours.norms

    read, source = tokens(model, [2, 4], [1], [1, 5, 7, 6]), tokens(model, [2, 4, 1], [1, 3], [3, 5, 6, 7, 1])
    x, memory = torch.randn(*read.shape, 8).double(), torch.randn(*source.shape, 8).double()
    rows = Packed(read)
    biases = [bias_of(seen[:, None], 2, x) for seen in (read > 0, source > 0)]
    packed = ours(rows.pick(x), rows, biases[0], None, ours.cross.keys_values(memory), biases[1])
    padded = theirs(x, memory, tgt_key_padding_mask=read == 0, memory_key_padding_mask=source == 0)
    torch.testing.assert_close(packed, padded[read > 0])
