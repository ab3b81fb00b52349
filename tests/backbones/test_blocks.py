from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec import SequenceDataset
from recbole_raserec.backbones import stack
from recbole_raserec.backbones.blocks import Blocks, divide
from recbole_raserec.backbones.duorec import DuoRec
from recbole_raserec.backbones.sasrec import SASRec
from recbole_raserec.data.batches import PackedLoader

shapes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 100), st.integers(1, 100)), min_size=1, max_size=4)


@given(shapes, st.integers(1, 600), st.integers(0, 9))
def test_parts_hold_each_needed_position_once_within_the_bound(shapes, most, seed):
    windows = [torch.arange(rows * length).view(rows, length) for rows, length, _ in shapes]
    lasts = [min(last, length) for _, length, last in shapes]
    positions = torch.cat([window[:, -last:].flatten() for window, last in zip(windows, lasts)])
    rng = np.random.default_rng(seed)
    selected = torch.from_numpy(rng.permutation(len(positions))[: rng.integers(1, len(positions) + 1)])
    parts, place = divide(Blocks(windows, lasts, selected), most)
    found = []
    for part in parts:
        asked = [window[:, -last:].flatten() for window, last in zip(part.windows, part.lasts)]
        found.append(torch.cat(asked)[part.selected])
        assert sum(window.numel() for window in part.windows) <= most or sum(map(len, part.windows)) == 1
    assert torch.equal(torch.cat(found)[place], positions[selected])


def step(model, batch):
    """Loss and gradients with seeded dropout."""
    torch.manual_seed(5)
    model.zero_grad()
    loss = model.packed_loss(batch, 64)
    loss.backward()
    return loss, {name: parameter.grad.to_dense().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("backbone", "more"),
    [(SASRec, {"average_weight": 0.7, "score_tau": 0.07}), (SASRec, {"softmax_negatives": 7}), (DuoRec, {})],
)
def test_parts_give_the_gradients_of_one_large_step(make_config, monkeypatch, backbone, more):
    nothing = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    config = make_config(backbone=backbone.__name__, **nothing, **more)
    dataset = SequenceDataset(config)
    dataset.build()
    model = backbone(config, dataset).double().train()
    model.use_training(dataset.sequences.trained_part())
    batch = next(iter(PackedLoader(dataset.sequences, "item_id_list", model.max_seq_length, budget=64, seed=0)))
    loss, gradients = step(model, batch)
    monkeypatch.setattr(stack, "_TOKENS", {"cpu": 40})
    calls, together = [], model._encode_together
    monkeypatch.setattr(model, "_encode_together", lambda *part: calls.append(1) or together(*part))
    in_parts, theirs = step(model, batch)
    assert len(calls) > 4  # twice each
    torch.testing.assert_close(in_parts, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, msg=name)


def test_a_part_is_computed_again_with_the_same_dropout(make_config, monkeypatch):
    config = make_config(hidden_dropout_prob=0.5, attn_dropout_prob=0.5)
    dataset = SequenceDataset(config)
    dataset.build()
    model = SASRec(config, dataset).double().train()
    batch = next(iter(PackedLoader(dataset.sequences, "item_id_list", model.max_seq_length, budget=64, seed=0)))
    monkeypatch.setattr(stack, "_TOKENS", {"cpu": 40})
    loss, gradients = step(model, batch)
    monkeypatch.setattr(stack, "checkpoint", lambda work, *part, use_reentrant: work(*part))
    kept, theirs = step(model, batch)
    assert torch.equal(loss, kept)
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, msg=name)


def test_the_gradient_of_a_gradient_goes_through_parts(make_config, monkeypatch):
    """DR4SR+ needs it."""
    config = make_config(hidden_dropout_prob=0.5, attn_dropout_prob=0.5)
    dataset = SequenceDataset(config)
    dataset.build()
    model = SASRec(config, dataset).double().train()
    batch = next(iter(PackedLoader(dataset.sequences, "item_id_list", model.max_seq_length, budget=64, seed=0)))
    weights = list(model.parameters())

    def second():
        torch.manual_seed(5)
        hidden = model.packed_pairs(batch).hidden
        first = torch.autograd.grad((hidden**3).sum(), weights, create_graph=True)
        return torch.autograd.grad(sum((gradient**2).sum() for gradient in first), weights)

    monkeypatch.setattr(stack, "_TOKENS", {"cpu": 40})
    again = second()
    monkeypatch.setattr(stack, "checkpoint", lambda work, *part, use_reentrant: work(*part))
    for mine, theirs in zip(again, second()):
        torch.testing.assert_close(mine, theirs)
