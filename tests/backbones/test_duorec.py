from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from recbole_raserec import ConfigError, SequenceDataset
from recbole_raserec.backbones.blocks import blocks_of
from recbole_raserec.backbones.duorec import DuoRec, SameTarget, info_nce
from recbole_raserec.backbones.sasrec import SASRec
from recbole_raserec.data.batches import TARGET_AT, PackedLoader


def test_info_nce_is_that_of_a_loop():
    torch.manual_seed(0)
    first, second = torch.randn(5, 4).double(), torch.randn(5, 4).double()
    views, total = [*first, *second], 0.0
    for i, view in enumerate(views):
        scores = {j: math.exp(float(view @ other) / 0.7) for j, other in enumerate(views) if j != i}
        total -= math.log(scores[(i + 5) % 10] / sum(scores.values()))
    assert info_nce(first, second, 0.7).item() == pytest.approx(total / 10)


def test_partners_are_drawn_uniformly_from_the_others_of_the_same_target(tiny):
    _, dataset, _ = tiny
    part = dataset.sequences.train_part()
    same = SameTarget(part)
    groups = Counter(part.targets.tolist())
    row = min(range(len(part)), key=lambda r: groups[part.targets[r]])
    number = groups[part.targets[row]] - 1
    counts = Counter(same.draw(np.full(1000 * number, part.target_at[row])).tolist())
    others = {r for r in range(len(part)) if part.targets[r] == part.targets[row]} - {row}
    assert set(counts) == others
    assert min(counts.values()) > 850  # of 1000 on average
    everything = same.draw(part.target_at)
    assert (part.targets[everything] == part.targets).all()
    assert all((everything[r] == r) == (groups[part.targets[r]] == 1) for r in range(len(part)))


def test_the_packed_loss_is_sasrecs_and_the_contrast_of_both_views(make_config, monkeypatch):
    contrast = {"contrast_weight": 0.1, "contrast_tau": 0.5}
    config = make_config(backbone="DuoRec", hidden_dropout_prob=0.0, attn_dropout_prob=0.0, **contrast)
    dataset = SequenceDataset(config)
    dataset.build()
    torch.manual_seed(1)
    model = DuoRec(config, dataset).double()
    plain = SASRec(config, dataset).double()
    plain.load_state_dict(model.state_dict())
    part = dataset.sequences.train_part()
    model.use_training(part)
    monkeypatch.setattr(model.same_target, "draw", lambda target_at: partners(target_at))

    def partners(target_at):  # fixed: the last row of the same target
        rows = np.searchsorted(part.target_at, target_at)
        return np.array([np.flatnonzero(part.targets == part.targets[r])[-1] for r in rows])

    batch = next(iter(PackedLoader(dataset.sequences, "item_id_list", 8, budget=64, seed=0)))
    pairs = plain.packed_pairs(batch)
    target_at = torch.cat([block[TARGET_AT].flatten() for block in batch])
    rows = partners(target_at[blocks_of(batch, "item_id_list").selected].numpy())
    samples = dataset.feat_of(part)[torch.from_numpy(rows)]
    assert torch.equal(pairs.targets, samples["item_id"])
    other = plain(samples["item_id_list"], samples["item_length"])
    expected = plain.packed_loss(batch, 64) + 0.1 * len(rows) * info_nce(pairs.hidden, other, 0.5) / 64
    torch.testing.assert_close(model.packed_loss(batch, 64), expected)


def test_a_layer_that_sees_the_future_is_refused(make_config):
    config = make_config(backbone="DuoRec", average_weight=0.7, average_form="fourier")
    dataset = SequenceDataset(config)
    dataset.build()
    with pytest.raises(ConfigError, match="average_form='fourier': its layer sees the future"):
        DuoRec(config, dataset)
