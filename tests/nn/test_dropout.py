from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from recbole_raserec.nn.dropout import Dropout, causal_attention, use_fast_dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_share_and_mean_are_kept(p):
    x = torch.ones(401, 1001, requires_grad=True)
    y = Dropout(p).train()(x)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert y.mean().item() == pytest.approx(1.0, abs=0.01)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # the gradient passes where the value passed


def test_neighbouring_elements_are_independent():
    dropped = (Dropout(0.5).train()(torch.ones(1_000_000)) == 0).float()
    for lag in (1, 2, 3, 4, 5):  # four elements share a draw
        both = (dropped[lag:] * dropped[:-lag]).mean().item()
        assert both == pytest.approx(0.25, abs=0.003)


def test_evaluation_changes_nothing_and_seeds_repeat():
    x = torch.randn(10, 10)
    module = Dropout(0.5)
    assert torch.equal(module.eval()(x), x)
    module.train()
    torch.manual_seed(5)
    first = module(x)
    torch.manual_seed(5)
    assert torch.equal(module(x), first)


def test_replacement_reaches_every_layer_and_no_weight():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.3)), nn.Dropout(0.1))
    names = list(net.state_dict())
    use_fast_dropout(net)
    assert type(net[1][0]) is Dropout
    assert net[1][0].p == 0.3
    assert type(net[2]) is Dropout
    assert list(net.state_dict()) == names


def test_attention_with_dropout_is_attention_on_average():
    q, k, v = torch.randn(3, 1, 2, 5, 4)
    dropout = nn.Dropout(0.5)
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(causal_attention(q, k, v, dropout.eval()), exact)
    many = [t.expand(20_000, -1, -1, -1) for t in (q, k, v)]
    mean = causal_attention(*many, dropout.train()).mean(dim=0, keepdim=True)
    torch.testing.assert_close(mean, exact, rtol=0.1, atol=0.05)
    # The first position attends only to itself; later positions do not change it.
    assert {0.0, 2.0} >= set((causal_attention(*many, dropout)[:, 0, 0, 0] / v[0, 0, 0, 0]).round().tolist())


def test_the_last_positions_ask_as_they_do_among_all():
    q, k, v = torch.randn(3, 2, 2, 7, 4)
    dropout = nn.Dropout(0.5).eval()
    whole = causal_attention(q, k, v, dropout)
    for last in (1, 3, 7):
        torch.testing.assert_close(causal_attention(q[:, :, -last:], k, v, dropout), whole[:, :, -last:])
