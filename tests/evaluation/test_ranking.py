from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.sequences import Sequences
from recbole_raserec.evaluation.ranking import Ranks, rank_targets


def random_sequences(rng: np.random.Generator, users: int, items: int) -> Sequences:
    lengths = rng.integers(3, 12, users)
    return Sequences.from_sorted(np.repeat(np.arange(1, users + 1), lengths), rng.integers(1, items, lengths.sum()))


@given(st.integers(1, 9), st.integers(3, 15), st.integers(1, 4), st.integers(0, 10**6))
def test_ranks_are_those_of_a_sorted_list(users, items, block, seed):
    rng = np.random.default_rng(seed)
    part = random_sequences(rng, users, items).test_part()
    vectors = rng.integers(-2, 3, (users, 2)).astype(np.float32)  # integers: plenty of ties
    catalogue = rng.integers(-2, 3, (items, 2)).astype(np.float32)
    table = torch.from_numpy(catalogue)
    ranks = rank_targets(
        lambda rows, out: torch.mm(table, torch.from_numpy(vectors[rows]).T, out=out), table, part, block
    )
    for row in range(users):
        scores = catalogue @ vectors[row]
        target = int(part.targets[row])
        seen = set(part.sequences.items[part.target_at[row] - part.lengths[row] : part.target_at[row]].tolist())
        worst = [i for i in range(1, items) if scores[i] >= scores[target]]  # ties above the target
        assert ranks.unmasked[row] == len(worst)
        expected = Ranks.NEVER if target in seen else len([i for i in worst if i not in seen])
        assert ranks.masked[row] == expected


def test_a_model_of_nan_hits_nothing():
    part = random_sequences(np.random.default_rng(0), 5, 30).test_part()
    ranks = rank_targets(lambda rows, out: out.fill_(torch.nan), torch.ones(30, 2), part, 8)
    assert (ranks.unmasked >= 29).all()  # behind all other items
