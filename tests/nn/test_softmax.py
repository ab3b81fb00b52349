from __future__ import annotations

import math
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_raserec.nn import softmax as softmax_module
from recbole_raserec.nn.softmax import negatives_for, sampled_softmax_cross_entropy, softmax_cross_entropy


@given(
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(1, 8),
    st.integers(1, 12),
    st.integers(0, 99),
    st.sampled_from([0.5, 3, 9]),
)
def test_loss_and_gradients_are_torchs(rows, items, width, block_rows, seed, scale):
    """With the smallest scale no maximum is subtracted. With the largest scale it must be subtracted."""
    torch.manual_seed(seed)
    hidden, catalogue = torch.randn(rows, width) * scale, torch.randn(items, width) * scale
    targets = torch.randint(items, (rows,))
    results = []
    for loss_of in (
        lambda h, e: softmax_cross_entropy(h, e, targets, block_rows),
        lambda h, e: F.cross_entropy(h @ e.T, targets, reduction="sum"),
    ):
        h, e = hidden.clone().requires_grad_(), catalogue.clone().requires_grad_()
        loss = loss_of(h, e) * 0.5
        loss.backward()
        results.append((loss.detach(), h.grad, e.grad))
    for ours, theirs in zip(*results):  # logits of some hundreds are rounded by 1e-5
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.5, 2.5])  # without and with the maximum subtracted
def test_under_autocast_the_products_are_of_half_precision_and_the_sums_are_not(scale):
    torch.manual_seed(0)
    hidden, catalogue, targets = torch.randn(300, 16) * scale, torch.randn(500, 16) * scale, torch.randint(500, (300,))
    results = []
    for half in (False, True):
        h, e = hidden.clone().requires_grad_(), catalogue.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = softmax_cross_entropy(h, e, targets, block_rows=7)  # 43 blocks are summed
        loss.backward()
        results.append((loss.detach(), h.grad, e.grad))
    for exact, ours in zip(*results):
        assert ours.dtype == torch.float32
        assert 0 < (ours - exact).norm() / exact.norm() < 0.02


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    items = torch.tensor([[1.0], [-1.0], [0.0]])
    loss = softmax_cross_entropy(hidden, items, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-4)
    assert torch.isfinite(hidden.grad).all()


def test_frozen_items_get_no_gradient():
    hidden, items = torch.randn(4, 3, requires_grad=True), torch.randn(7, 3)
    softmax_cross_entropy(hidden, items, torch.tensor([1, 2, 3, 4])).backward()
    assert hidden.grad is not None
    assert items.grad is None


def test_the_sampled_loss_and_gradient_tend_to_the_full_ones():
    torch.manual_seed(0)
    hidden, items, targets = torch.randn(6, 4), torch.randn(300, 4), torch.randint(1, 300, (6,))
    items[0] = -1e3 * hidden.mean(0)  # padding must not count
    results = []
    for loss_of in (
        lambda h, e: softmax_cross_entropy(h, e[1:], targets - 1),
        lambda h, e: sampled_softmax_cross_entropy(h, e, targets, 400_000),
    ):
        h, e = hidden.clone().requires_grad_(), items.clone().requires_grad_()
        loss = loss_of(h, e)
        loss.backward()
        results.append((loss.detach(), h.grad, e.grad.to_dense()))
    assert e.grad.is_sparse
    for full, sampled in zip(*results):
        torch.testing.assert_close(sampled, full, rtol=0.02, atol=0.02)


def test_a_rows_own_target_is_no_negative_of_it():
    """Two items: one is the target, so the denominator is estimated from the other alone."""
    hidden, items = torch.ones(1, 1), torch.tensor([[9.0], [2.0], [1.0]])
    torch.manual_seed(0)
    loss = sampled_softmax_cross_entropy(hidden, items, torch.tensor([1]), 50_000)
    assert loss.item() == pytest.approx(torch.tensor([2.0, 1.0]).softmax(0)[0].log().neg().item(), abs=0.02)


def test_large_catalogues_are_sampled_by_default():
    assert negatives_for(-1, 12_101) == 0
    assert negatives_for(-1, 1_000_000) == 8192
    assert negatives_for(0, 1_000_000) == 0
    assert negatives_for(512, 50) == 512


def plainly_sampled(hidden, items, targets, negatives, each):
    """The sampled loss by torch's own operations, with all logits."""
    drawn = torch.randint(1, len(items), (negatives,))
    logits = hidden @ items[drawn].T + math.log((len(items) - 1) / negatives)
    logits = logits.masked_fill(drawn == targets[:, None], -torch.inf)
    own = (hidden * items[targets]).sum(dim=1, keepdim=True)
    lost = torch.logsumexp(torch.cat([own, logits], dim=1), dim=1) - own[:, 0]
    return lost.sum() if each is None else lost @ each


@settings(max_examples=50)
@given(
    rows=st.integers(1, 80),
    items=st.integers(2, 40),
    negatives=st.integers(1, 60),
    scale=st.sampled_from([0.5, 3, 30]),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_sampled_loss_is_that_of_plain_operations_on_the_same_draws(rows, items, negatives, scale, weighted, seed):
    found = []
    for loss_of in (plainly_sampled, sampled_softmax_cross_entropy):
        torch.manual_seed(seed)
        hidden, table = (scale * torch.randn(n, 6, dtype=torch.float64) for n in (rows, items))
        targets, each = torch.randint(1, items, (rows,)), torch.rand(rows, dtype=torch.float64) if weighted else None
        hidden.requires_grad_(), table.requires_grad_()
        with patch.dict(softmax_module._BLOCK_LOGITS, cpu=1):  # 32 rows a block
            loss = loss_of(hidden, table, targets, negatives, each)
        (3 * loss).backward()
        gradient = table.grad.to_dense() if table.grad.is_sparse else table.grad
        found.append((loss.detach(), hidden.grad, gradient))
    for plain, ours in zip(*found):
        torch.testing.assert_close(ours, plain)
