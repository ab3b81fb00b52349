from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recbole_raserec.retrieval.attention import CrossAttention, RetrievalAugmentation


def plain_attention(module: CrossAttention, query, keys, values, real, tau):
    """Cross attention as in the paper's formula, which projects every memory."""
    heads, width = module.heads, query.shape[1] // module.heads
    q = module.query(query).view(-1, heads, width)
    k = (keys @ module.key.weight.T).view(*keys.shape[:2], heads, width)
    v = module.value(values).view(*values.shape[:2], heads, width)
    logits = torch.einsum("bhc,bkhc->bhk", q, k) / width**0.5 / tau
    weights = F.softmax(logits.masked_fill(~real[:, None], -torch.inf), dim=-1)
    return module.output(torch.einsum("bhk,bkhc->bhc", weights, v).flatten(1))


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    real = torch.rand(6, 5) < 0.7
    real[:, 0] = True
    return torch.randn(6, 8), torch.randn(6, 5, 8), torch.randn(6, 5, 8), real


@pytest.mark.parametrize(("heads", "tau"), [(1, 1.0), (2, 0.3), (4, 2.0)])
def test_folded_projections_are_the_plain_attention(inputs, heads, tau):
    module = CrossAttention(8, heads, dropout=0.5, tau=tau).eval()
    torch.testing.assert_close(module(*inputs), plain_attention(module, *inputs, tau), rtol=1e-4, atol=1e-5)


def test_masked_memories_have_no_influence(inputs):
    query, keys, values, real = inputs
    module = RetrievalAugmentation(8, inner_size=16, beta=0.5).eval()
    before = module(query, keys, values, real)
    noise = torch.where(real[..., None], 0.0, 1e3)
    torch.testing.assert_close(module(query, keys + noise, values - noise, real), before)


def test_a_query_without_memories_keeps_its_vector(inputs):
    query, keys, values, real = inputs
    real[2] = False
    module = RetrievalAugmentation(8, inner_size=16)
    out = module(query, keys, values, real)
    assert torch.equal(out[2], query[2])
    assert not torch.equal(out[0], query[0])
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_alpha_and_beta_mix(inputs):
    module = RetrievalAugmentation(8, inner_size=16, alpha=1.0).eval()
    torch.testing.assert_close(module(*inputs), inputs[0])
    assert module.target_branch is None

    query, keys, values, real = inputs
    both = RetrievalAugmentation(8, inner_size=16, alpha=0.25, beta=0.75).eval()
    expected = 0.25 * query + 0.75 * (
        0.75 * both.sequence_branch(query, keys, values, real) + 0.25 * both.target_branch(query, values, keys, real)
    )
    torch.testing.assert_close(both(*inputs), expected)
