from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recbole_raserec import ConfigError, SequenceDataset
from recbole_raserec.backbones import build_backbone
from recbole_raserec.backbones.layers.pointwise import PointwiseAttention


def of_a_loop(module, row):
    """Equations 1 to 3 of HSTU, position by position, for one history [L, D]."""
    normed = F.layer_norm(row, row.shape[-1:], eps=module.eps)
    gate, value, query, key = F.silu(module.inputs(normed)).chunk(4, dim=1)
    size, outputs = row.size(1) // module.heads, []
    for at in range(len(row)):
        sums = torch.zeros_like(row[0])
        for head in range(module.heads):
            part = slice(head * size, (head + 1) * size)
            for before in range(at + 1):
                logit = query[at, part] @ key[before, part] + module.distance_bias[at - before]
                sums[part] += F.silu(logit) / module.longest * value[before, part]
        outputs.append(row[at] + module.output(F.layer_norm(sums, sums.shape, eps=module.eps) * gate[at]))
    return torch.stack(outputs)


@pytest.mark.parametrize("heads", [1, 2])
def test_layer_is_that_of_a_loop(heads):
    torch.manual_seed(0)
    module = PointwiseAttention(heads, 4, 9, 0.5, 0.5, 1e-6).double().eval()
    blocks, shapes = [torch.randn(2, 7, 4).double(), torch.randn(3, 2, 4).double()], [(2, 7, 3), (3, 2, 2)]
    expected = torch.cat(
        [of_a_loop(module, row)[-last:] for block, (_, _, last) in zip(blocks, shapes) for row in block]
    )
    tokens = torch.cat([block.flatten(0, 1) for block in blocks])
    asking = torch.cat([block[:, -last:].flatten(0, 1) for block, (_, _, last) in zip(blocks, shapes)])
    torch.testing.assert_close(module(tokens, asking, shapes), expected)
    some = torch.tensor([5, 0, 8])
    torch.testing.assert_close(module(tokens, asking, shapes, some), expected[some])


def test_an_average_beside_hstu_is_refused(make_config):
    config = make_config(backbone="HSTU", average_weight=0.5)
    dataset = SequenceDataset(config)
    dataset.build()
    with pytest.raises(ConfigError, match=r"average_weight=0\.5: HSTU has no layer beside which an average can stand"):
        build_backbone(config, dataset)
