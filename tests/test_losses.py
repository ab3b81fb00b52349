from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.losses import softmax_cross_entropy


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 8), st.integers(1, 12), st.integers(0, 99))
def test_loss_and_gradients_are_torchs(rows, items, width, block_rows, seed):
    torch.manual_seed(seed)
    hidden, catalogue = torch.randn(rows, width) * 3, torch.randn(items, width) * 3
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
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


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
