"""Cross entropy over all items, computed in blocks of rows, or over sampled items if the catalogue is too large."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

FULL_SOFTMAX_ITEMS = 100_000  # larger catalogues are sampled by default
DEFAULT_NEGATIVES = 8192
_BLOCK_LOGITS = {"cpu": 5 * 2**18, "cuda": 2**26}  # floats held at once: 5 MiB, which stay in cache; 256 MiB
_SAFE_EXPONENT = 60.0  # in single precision, sums of exp(-60) .. exp(60) neither overflow nor vanish


class _BlockedCrossEntropy(torch.autograd.Function):
    """The forward pass also computes the gradients, while the probabilities of a block are still in cache.

    For loss = sum_n w_n (log sum_v exp(h_n . e_v) - h_n . e_{t_n}) and p = softmax(h E^T):
    d/dh_n = w_n (p E - e_t)_n and d/dE = p^T (w h) - (w_n h_n added to row t_n).

    The matrix products have the precision ``dtype``. The target's logit, all sums and the gradients do not.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        each: Tensor | None,
        block_rows: int,
        dtype: torch.dtype,
    ) -> Tensor:
        need_hidden, need_items = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_items = torch.zeros_like(items) if need_items else None
        weighted = hidden if each is None else hidden * each[:, None]  # [N, D]
        total = -(weighted * items[targets]).sum()
        bounded = _is_bounded(hidden, items)
        factor = items.to(dtype)
        buffer = factor.new_empty(len(items) * min(block_rows, len(hidden)))  # once: page faults are expensive
        for start in range(0, len(hidden), block_rows):
            rows = slice(start, start + block_rows)
            h = hidden[rows]
            block = buffer[: len(items) * len(h)].view(len(items), len(h))
            logits = torch.mm(factor, h.to(dtype).T, out=block)  # [V, b]: MKL multiplies this shape faster than [b, V]
            if not bounded:
                highest = logits.amax(dim=0)
                total += _sum(highest.to(hidden.dtype), each, rows)
                logits.sub_(highest)
            weights = logits.exp_()  # softmax, not yet divided by its sum
            norm = weights.sum(dim=0, dtype=hidden.dtype)[:, None]  # [b, 1]
            total += _sum(norm[:, 0].log(), each, rows)
            if grad_hidden is not None:
                grad_hidden[rows] = (weights.T @ factor) / norm
            if grad_items is not None:
                _add_product(grad_items, weights, (weighted[rows] / norm).to(dtype))
        if grad_hidden is not None:
            grad_hidden -= items[targets]
            if each is not None:
                grad_hidden *= each[:, None]
        if grad_items is not None:
            grad_items.index_add_(0, targets, weighted, alpha=-1)
        ctx.save_for_backward(grad_hidden, grad_items)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if of is None else of.mul_(grad) for of in ctx.saved_tensors), None, None, None, None


class _SampledCrossEntropy(torch.autograd.Function):
    """As :class:`_BlockedCrossEntropy`, with drawn items, each of which ``stands_for`` so many, and the targets.

    With c = stands_for, and a_n = c sum_s exp(h_n . d_s) + exp(h_n . e_n) over the draws d_s that are not the row's
    target e_n: loss = sum_n w_n (log a_n - h_n . e_n).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        drawn: Tensor,
        own: Tensor,
        equal: tuple[Tensor, Tensor],
        stands_for: float,
        each: Tensor | None,
        block_rows: int,
        dtype: torch.dtype,
    ) -> Tensor:
        grad_hidden, grad_drawn = torch.empty_like(hidden), torch.zeros_like(drawn)
        weighted = hidden if each is None else hidden * each[:, None]  # [N, D]
        logit = (hidden * own).sum(dim=1)  # [N], of the targets
        share = torch.empty_like(logit)  # of the target in the softmax
        total = -_sum(logit, each, slice(None))
        bounded = _is_bounded(hidden, drawn) and _is_bounded(hidden, own)
        factor = drawn.to(dtype)
        buffer = factor.new_empty(len(drawn) * min(block_rows, len(hidden)))
        place, row = equal
        starts = torch.arange(0, len(hidden) + block_rows, block_rows, device=row.device)
        bounds = torch.searchsorted(row, starts).tolist()
        for number, start in enumerate(range(0, len(hidden), block_rows)):
            rows, mine = slice(start, start + block_rows), slice(*bounds[number : number + 2])
            h = hidden[rows]
            logits = torch.mm(factor, h.to(dtype).T, out=buffer[: len(drawn) * len(h)].view(len(drawn), len(h)))
            logits[place[mine], row[mine] - start] = -torch.inf
            highest = torch.zeros_like(logit[rows])
            if not bounded:
                highest = torch.maximum(logits.amax(dim=0).to(hidden.dtype), logit[rows])
                logits.sub_(highest.to(dtype))
            weights = logits.exp_()
            target = (logit[rows] - highest).exp()
            norm = stands_for * weights.sum(dim=0, dtype=hidden.dtype) + target  # [b]
            total += _sum(norm.log() + highest, each, rows)
            share[rows] = target / norm
            scale = (stands_for / norm)[:, None]
            grad_hidden[rows] = (weights.T @ factor) * scale
            if ctx.needs_input_grad[1]:
                _add_product(grad_drawn, weights, (weighted[rows] * scale).to(dtype))
        missing = (share - 1)[:, None]
        grad_hidden += missing * own
        if each is not None:
            grad_hidden *= each[:, None]
        ctx.save_for_backward(grad_hidden, grad_drawn, missing * weighted)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(of.mul_(grad) for of in ctx.saved_tensors), None, None, None, None, None


def _rows_of_block(device: torch.device, items: int) -> int:
    """How many rows of logits of so many items are held at once."""
    return max(_BLOCK_LOGITS.get(device.type, 2**20) // items // 32 * 32, 32)


def _product_dtype(hidden: Tensor, items: Tensor) -> torch.dtype:
    """The precision of products, which autocast changes."""
    return (hidden[:1] @ items[:1].T).dtype


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """total += a b, summed in the precision of ``total``."""
    return total.addmm_(a, b) if a.dtype == total.dtype else total.add_(a @ b)


def _sum(values: Tensor, each: Tensor | None, rows: slice) -> Tensor:
    return values.sum() if each is None else values @ each[rows]


def _is_bounded(hidden: Tensor, items: Tensor) -> bool:
    """Whether softmax is safe without subtracting the maximum. False on a GPU, because the test would stall it."""
    if hidden.device.type != "cpu" or len(hidden) == 0:
        return False
    return (hidden.norm(dim=1).max() * items.norm(dim=1).max()).item() < _SAFE_EXPONENT


def softmax_cross_entropy(
    hidden: Tensor, items: Tensor, targets: Tensor, block_rows: int | None = None, each: Tensor | None = None
) -> Tensor:
    """Sum over the rows of -log softmax(hidden . items^T)[target].

    Parameters
    ----------
    hidden : [N, D] user vectors.
    items : [V, D] item vectors; row 0 (padding) is included, as in RecBole's SASRec.
    targets : [N] item ids.
    block_rows : rows of logits held at once; the default is a good number for the device.
    each : [N] weight of each row in the sum, a constant without a gradient; None means 1 for each.

    Returns
    -------
    Scalar. Its gradients are those of torch's cross entropy; it can be differentiated once. Under autocast the
    products have autocast's precision (bfloat16: with trained item vectors of Beauty, gradients are off by .3 %).
    """
    if block_rows is None:
        block_rows = _rows_of_block(hidden.device, len(items))
    dtype = _product_dtype(hidden, items)
    with torch.autocast(hidden.device.type, enabled=False):
        return _BlockedCrossEntropy.apply(hidden.to(items.dtype), items, targets, each, block_rows, dtype)


def sampled_softmax_cross_entropy(
    hidden: Tensor, items: Tensor, targets: Tensor, negatives: int, each: Tensor | None = None
) -> Tensor:
    """The sum of :func:`softmax_cross_entropy`, with a softmax denominator estimated from uniformly drawn items.

    All rows use the same draws. A drawn item represents (V - 1) / n items, so log((V - 1) / n) is added to its
    logit (the correction of Bengio and Senecal, "Adaptive importance sampling", 2008). The estimated denominator
    is then right on average. If a row's own target is drawn, that draw is ignored in the row. Memory and time do
    not depend on V, but the gradient is noisier than that of :func:`softmax_cross_entropy`.

    Parameters
    ----------
    hidden, items, targets, each : as in :func:`softmax_cross_entropy`; item 0 (padding) is never drawn.
    negatives : n, number of items drawn with replacement.
    """
    drawn = torch.randint(1, len(items), (negatives,), device=items.device)
    vectors = F.embedding(torch.cat([drawn, targets]), items, sparse=True)  # only the used rows get a gradient
    dtype = _product_dtype(hidden, items)
    with torch.autocast(hidden.device.type, enabled=False):
        return _SampledCrossEntropy.apply(
            hidden.to(items.dtype),
            vectors[:negatives],
            vectors[negatives:],
            _equal(drawn, targets),
            (len(items) - 1) / negatives,
            each,
            _rows_of_block(hidden.device, negatives),
            dtype,
        )


def _equal(drawn: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Every place in ``drawn`` [n] and row of ``targets`` [N] that have the same item, in the order of the rows."""
    ordered, place = drawn.sort()
    first, end = torch.searchsorted(ordered, targets), torch.searchsorted(ordered, targets, right=True)
    count = end - first
    row = torch.repeat_interleave(count)
    nth = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    return place[first[row] + nth], row


def catalogue_cross_entropy(
    hidden: Tensor, items: Tensor, targets: Tensor, negatives: int, each: Tensor | None = None
) -> Tensor:
    """Cross entropy over all items if ``negatives`` is 0, otherwise over that many sampled items.

    ``each`` [N] is the weight of each row.
    """
    if negatives:
        return sampled_softmax_cross_entropy(hidden, items, targets, negatives, each)
    return softmax_cross_entropy(hidden, items, targets, each=each)


def negatives_for(setting: int, n_items: int) -> int:
    """The number of sampled items that ``softmax_negatives`` means; -1 decides by the size of the catalogue."""
    if setting >= 0:
        return setting
    return 0 if n_items <= FULL_SOFTMAX_ITEMS else DEFAULT_NEGATIVES
