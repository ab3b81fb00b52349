"""Dropout with a faster random mask on CPUs, and causal attention that uses it.

On a CPU ``torch.dropout`` draws one Bernoulli number per element. This takes longer than the layers around it.
Here one 64-bit number serves four elements. On other devices torch's kernels are used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 2**16  # a 16-bit number decides each element, so probabilities are exact to 1 / 65,536


class Dropout(nn.Dropout):
    """Like ``nn.Dropout``: it drops elements independently and scales the others to keep the mean."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        kept = round((1 - self.p) * _LEVELS)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        scale = draws.view(torch.int16)[: x.numel()].view(x.shape).to(torch.float32)
        scale = torch.lt(scale, kept - _LEVELS // 2, out=scale).mul_(_LEVELS / kept)
        return x * scale.to(x.dtype)  # a boolean mask would take twice the time: every product converts it


def use_fast_dropout(module: nn.Module) -> None:
    """Replace every ``nn.Dropout`` in ``module``. Dropout has no weights, so checkpoints do not change."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dropout: nn.Dropout) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, where each position attends to itself and to the positions before it.

    It uses torch's fused kernel. The steps are written out where that kernel is not fused (on a CPU with dropout)
    and where P < L.

    Parameters
    ----------
    q : [B, heads, P, d] queries of the last P positions.
    k, v : [B, heads, L, d]

    Returns
    -------
    [B, heads, P, d]
    """
    asked, seen = q.size(2), k.size(2)
    p = dropout.p if dropout.training else 0.0
    if (p == 0 or q.device.type != "cpu") and asked == seen:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
    future = torch.ones(asked, seen, dtype=torch.bool, device=q.device).triu(1 + seen - asked)
    logits = (q * q.size(-1) ** -0.5) @ k.transpose(-1, -2)  # [B, heads, P, L]
    return dropout(logits.masked_fill_(future, -torch.inf).softmax(dim=-1)) @ v
