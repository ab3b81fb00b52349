"""DR4SR+: weights of generated pairs that fit the target model, learned through its training (arXiv 2405.17795).

The parameters phi of the weights should give a small loss of the trained model theta*(phi) on original data. By the
implicit function theorem,
d L(theta*) / d phi = - dL/dtheta [d2 L_train / dtheta2]^-1 d2 L_train / dtheta dphi.
The inverse Hessian is approximated by the first terms of its Neumann series, which needs only Hessian-vector
products (Lorraine, Vicol and Duvenaud, "Optimizing millions of hyperparameters by implicit differentiation",
AISTATS 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_COOLEST = 1.0  # lower limit of the learned temperature


class Personalizer(nn.Module):
    """Computes the weight of a pair, in (0, 1), from the target model's vector of its prefix.

    Parameters
    ----------
    hidden_size : D of the target model.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, 2))
        self.temperature = nn.Parameter(torch.tensor(10.0))

    def forward(self, vectors: Tensor) -> Tensor:
        """[N, D] -> [N], with Gumbel noise in training and without noise in evaluation."""
        scores = self.score(vectors)
        temperature = self.temperature.clamp(min=_COOLEST)
        if self.training:
            return F.gumbel_softmax(scores, tau=temperature)[:, 1]
        return F.softmax(scores / temperature, dim=-1)[:, 1]


def implicit_gradient(
    outer: Tensor, inner: Tensor, weights: Sequence[Tensor], hyper: Sequence[Tensor], rate: float, terms: int = 3
) -> list[Tensor]:
    """d outer / d hyper through the weights that minimise ``inner``.

    Parameters
    ----------
    outer : scalar loss of the trained model; it depends on ``hyper`` only through the weights.
    inner : scalar training loss, twice differentiable in ``weights`` and ``hyper``.
    weights, hyper : theta and phi.
    rate : step of the Neumann series, equal to the learning rate of ``weights``; below 2 / (largest eigenvalue).
    terms : number of terms of the series after the first: H^-1 v ~ rate * sum_{i=0..terms} (I - rate H)^i v.

    Returns
    -------
    One gradient for each tensor of ``hyper``.
    """
    term = _gradients(outer, weights)
    total = list(term)
    slope = torch.autograd.grad(inner, weights, create_graph=True, allow_unused=True)
    used = [(w, s) for w, s in zip(weights, slope) if s is not None and s.requires_grad]
    for _ in range(terms):
        known = {id(w): t for w, t in zip(weights, term)}
        curved = torch.autograd.grad(
            [s for _, s in used],
            weights,
            grad_outputs=[known[id(w)] for w, _ in used],
            retain_graph=True,
            allow_unused=True,
        )
        term = [t if c is None else t - rate * c for t, c in zip(term, curved)]
        total = [a + t for a, t in zip(total, term)]
    known = {id(w): t for w, t in zip(weights, total)}
    mixed = torch.autograd.grad(
        [s for _, s in used], hyper, grad_outputs=[known[id(w)] for w, _ in used], allow_unused=True
    )
    return [torch.zeros_like(h) if m is None else -rate * m for h, m in zip(hyper, mixed)]


def _gradients(loss: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found)]
