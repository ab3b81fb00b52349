from __future__ import annotations

import pytest
import torch

from recbole_raserec.regeneration.personalizer import Personalizer, implicit_gradient


def trained(phi: torch.Tensor, points: torch.Tensor, hessians: torch.Tensor) -> torch.Tensor:
    """The minimum over theta of sum_n phi_n (theta - points_n)^T hessians_n (theta - points_n) / 2, in closed form."""
    whole = torch.einsum("n,nij->ij", phi, hessians)
    return torch.linalg.solve(whole, torch.einsum("n,nij,nj->i", phi, hessians, points))


@pytest.fixture
def problem():
    torch.manual_seed(0)
    root = torch.randn(4, 3, 3, dtype=torch.float64)
    hessians = root @ root.transpose(1, 2) + torch.eye(3, dtype=torch.float64)
    return torch.randn(4, 3, dtype=torch.float64), hessians, torch.rand(4, dtype=torch.float64) + 0.5


def losses(theta, phi, points, hessians):
    away = theta - points
    inner = 0.5 * torch.einsum("n,ni,nij,nj->", phi, away, hessians, away)
    return (theta**4).sum() + theta.sum(), inner


def test_the_hypergradient_is_that_of_finite_differences(problem):
    points, hessians, phi = problem
    step = 1e-6
    expected = []
    for n in range(4):
        outer = []
        for sign in (1, -1):
            moved = phi.clone()
            moved[n] += sign * step
            outer.append(losses(trained(moved, points, hessians), moved, points, hessians)[0].item())
        expected.append((outer[0] - outer[1]) / (2 * step))
    theta, hyper = trained(phi, points, hessians).requires_grad_(), phi.clone().requires_grad_()
    outer, inner = losses(theta, hyper, points, hessians)
    rate = 1 / torch.linalg.eigvalsh(torch.einsum("n,nij->ij", phi, hessians)).max().item()
    found = implicit_gradient(outer, inner, [theta], [hyper], rate, terms=400)[0]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-7)


def test_three_terms_are_those_of_the_series(problem):
    points, hessians, phi = problem
    theta, hyper = trained(phi, points, hessians).requires_grad_(), phi.clone().requires_grad_()
    outer, inner = losses(theta, hyper, points, hessians)
    rate = 0.01
    found = implicit_gradient(outer, inner, [theta], [hyper], rate, terms=3)[0]
    whole, slope = torch.einsum("n,nij->ij", phi, hessians), 4 * theta.detach() ** 3 + 1
    keep = torch.eye(3, dtype=torch.float64) - rate * whole
    series = rate * sum(torch.linalg.matrix_power(keep, i) for i in range(4))
    mixed = torch.einsum("nij,nj->in", hessians, theta.detach() - points)  # d2 inner / dtheta dphi
    torch.testing.assert_close(found, -(slope @ series @ mixed))


def test_a_step_along_it_lowers_the_outer_loss(problem):
    points, hessians, phi = problem
    before = losses(trained(phi, points, hessians), phi, points, hessians)[0]
    theta, hyper = trained(phi, points, hessians).requires_grad_(), phi.clone().requires_grad_()
    direction = implicit_gradient(*losses(theta, hyper, points, hessians), [theta], [hyper], 0.02, terms=200)[0]
    moved = phi - 1e-3 * direction
    assert losses(trained(moved, points, hessians), moved, points, hessians)[0] < before


def test_weights_lie_between_nought_and_one_and_the_temperature_is_clipped():
    torch.manual_seed(0)
    personalizer = Personalizer(8)
    vectors = torch.randn(500, 8)
    weights = personalizer(vectors)
    assert weights.shape == (500,)
    assert ((weights > 0) & (weights < 1)).all()
    personalizer.eval()
    with torch.no_grad():
        personalizer.temperature.fill_(-3.0)
        clipped = personalizer(vectors)
        personalizer.temperature.fill_(1.0)
    torch.testing.assert_close(clipped, personalizer(vectors).detach())
