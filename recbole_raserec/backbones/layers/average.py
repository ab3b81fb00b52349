"""Layers that smooth or filter a history, and a layer that puts one beside attention, after BSARec."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_raserec.backbones.layers.attention import CausalAttention
from recbole_raserec.backbones.protocol import Shapes
from recbole_raserec.nn.dropout import Dropout


class _Mixing(nn.Module):
    """LayerNorm(x + dropout(mixed)), where ``mixed`` combines positions, each dimension by itself."""

    causal = True

    def __init__(self, hidden_size: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(hidden_size, eps=eps), Dropout(dropout)

    def forward(self, tokens: Tensor, asking: Tensor, shapes: Shapes, selected: Tensor | None = None) -> Tensor:
        """[T, D], [A, D] -> [A, D], or [N, D] for the selected positions."""
        parts = tokens.split([rows * length for rows, length, _ in shapes])
        mixed = [
            self._mix(part.view(rows, length, -1), last).flatten(0, 1)
            for part, (rows, length, last) in zip(parts, shapes)
        ]
        output = self.norm(self.dropout(torch.cat(mixed)) + asking)
        return output if selected is None else output[selected]

    def _mix(self, x: Tensor, last: int) -> Tensor:
        """[B, L, D] -> [B, P, D] for the last P positions."""
        raise NotImplementedError


class MovingAverage(_Mixing):
    """A mean of the past: mixed = low + b^2 (x - low); low is the weighted mean of x and the positions before it.

    The mean is over the last ``window`` positions. Shin et al., "An Attentive Inductive Bias for Sequential
    Recommendation beyond the Self-Attention", AAAI 2024 (BSARec), use the low frequencies of the whole history
    instead. A mean of the past is causal, so one packed window serves all its prefixes. The weights of the mean and
    b are learned for each dimension. The initial weights are proportional to e^(-age / 5).
    """

    def __init__(self, hidden_size: int, window: int, dropout: float, eps: float) -> None:
        super().__init__(hidden_size, dropout, eps)
        age = torch.arange(window, dtype=torch.get_default_dtype())
        self.logits = nn.Parameter((-0.2 * age)[:, None].repeat(1, hidden_size))  # [window, D]
        self.high = nn.Parameter(torch.randn(hidden_size))  # b [D]

    def _mix(self, x: Tensor, last: int) -> Tensor:
        length = x.size(1)
        weights = self.logits.softmax(dim=0)  # [window, D], newest position first
        sums = _convolved(x, weights[:length])
        seen = torch.arange(length - last, length, device=x.device).clamp(max=len(weights) - 1)
        low = sums[:, -last:] / weights.cumsum(dim=0)[seen]  # a short history gives a mean of fewer positions
        return low + self.high**2 * (x[:, -last:] - low)


class LocalFilter(_Mixing):
    """A filter of the past: mixed = sum over ages k < ``window`` of w[k] x[t - k], a causal depthwise convolution.

    Its ``window`` weights a dimension are free, so it can pass high frequencies as well as low ones. The filters of
    Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022 (FMLP-Rec), are learned
    too, but their Fourier transform reads the whole history, and so the future of a packed window.
    """

    def __init__(self, hidden_size: int, window: int, dropout: float, eps: float) -> None:
        super().__init__(hidden_size, dropout, eps)
        self.weights = nn.Parameter(0.02 * torch.randn(window, hidden_size))  # w [window, D], newest position first

    def _mix(self, x: Tensor, last: int) -> Tensor:
        return _convolved(x, self.weights[: x.size(1)])[:, -last:]


class FourierFilter(_Mixing):
    """BSARec's own: mixed = low + b^2 (x - low); low has the ``window`` // 2 + 1 lowest frequencies of the history.

    Every position reads the whole history, so the layer is not causal, and its backbone is trained prefix by prefix.
    The authors pad histories on the left to one length; here each has its own length. b is learned for each dimension.
    """

    causal = False

    def __init__(self, hidden_size: int, window: int, dropout: float, eps: float) -> None:
        super().__init__(hidden_size, dropout, eps)
        self.high = nn.Parameter(torch.randn(hidden_size))  # b [D]
        self.kept = window // 2 + 1

    def _mix(self, x: Tensor, last: int) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=1)[:, : self.kept]
        low = torch.fft.irfft(spectrum, n=x.size(1), dim=1)[:, -last:]  # the other frequencies become 0
        return low + self.high**2 * (x[:, -last:] - low)


def _convolved(x: Tensor, weights: Tensor) -> Tensor:
    """[B, L, D], [K, D] -> [B, L, D]: each position's sum of ``weights[k]`` x[t - k]."""
    kernel = weights.flip(0).T[:, None]  # [D, 1, K]
    past = F.pad(x.transpose(1, 2), (len(weights) - 1, 0))
    return F.conv1d(past, kernel, groups=x.size(2)).transpose(1, 2)


FORMS = {"mean": MovingAverage, "filter": LocalFilter, "fourier": FourierFilter}


class AttentionBesideAverage(nn.Module):
    """``weight`` x mixing layer + (1 - ``weight``) x attention: BSARec's layer, causal if the mixing layer is."""

    def __init__(self, attention: CausalAttention, average: _Mixing, weight: float) -> None:
        super().__init__()
        self.attention, self.average, self.weight = attention, average, weight

    @property
    def causal(self) -> bool:
        return self.average.causal

    def forward(self, tokens: Tensor, asking: Tensor, shapes: Shapes, selected: Tensor | None = None) -> Tensor:
        """[T, D], [A, D] -> [A, D], or [N, D] for the selected positions."""
        context = self.attention.context(tokens, asking, shapes)
        average = self.average(tokens, asking, shapes, selected)
        if selected is not None:
            context, asking = context[selected], asking[selected]
        return self.weight * average + (1 - self.weight) * self.attention.output(context, asking)
