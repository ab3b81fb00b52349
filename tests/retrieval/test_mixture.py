from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.retrieval.mixture import Mixture, Votes, cosines
from recbole_raserec.retrieval.neighbours import NO_MEMORY, Neighbours


@given(
    st.floats(0, 0.95),
    st.floats(0.05, 2),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(2, 8),
    st.integers(0, 10**6),
)
def test_the_softmax_of_the_mixed_scores_is_the_mixture(weight, tau, exponent, users, memories, items, seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(items, users))
    scores[0] = -np.inf
    found = rng.integers(1, items, (users, memories))  # few items: the same ones come several times
    cosine = rng.uniform(-1, 1, (users, memories))
    cosine[rng.random((users, memories)) < 0.3] = -np.inf  # places without a memory
    counts = rng.integers(0, 50, items)
    mixed = torch.from_numpy(scores.copy())
    votes = Votes(mixed, torch.from_numpy(found), torch.from_numpy(cosine), torch.from_numpy(np.log1p(counts)))
    votes.mix(mixed, Mixture(0.5, 0.3, 0.7))  # the next replaces it
    votes.mix(mixed, Mixture(weight, tau, exponent))
    for user in range(users):
        of_scores = np.exp(scores[:, user]) / np.exp(scores[:, user]).sum()
        real = np.isfinite(cosine[user])
        shares = np.exp(cosine[user][real] / tau) / (1.0 + counts[found[user][real]]) ** exponent
        of_memories = np.zeros(items)
        for item, share in zip(found[user][real], shares / shares.sum()):
            of_memories[item] += share
        expected = (1 - weight) * of_scores + weight * of_memories if real.any() else of_scores
        np.testing.assert_allclose(torch.softmax(mixed[:, user], dim=0).numpy(), expected, atol=1e-9)


def test_the_cosine_of_no_memory_is_below_all():
    keys, targets = torch.tensor([[1.0, 1.0], [5.0, 0.0]]), torch.tensor([1, 2])
    found = cosines(torch.tensor([[3.0, 0.0]]), Neighbours(torch.tensor([[0, NO_MEMORY]]), keys, targets))
    assert found[0, 0].item() == pytest.approx(0.5**0.5)
    assert found[0, 1] == -torch.inf
