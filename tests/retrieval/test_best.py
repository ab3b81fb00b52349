"""The highest numbers of each row, against a sort of the whole rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_raserec.retrieval import best as best_module
from recbole_raserec.retrieval.best import Best


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 60), st.integers(1, 25), st.booleans(), st.integers(0, 99))
def test_the_best_are_those_of_a_sort(rows, depth, columns, part, ties, seed):
    numbers = torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32))
    numbers = numbers.round() if ties else numbers
    for heaped in (0, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(best_module, "_HEAPED", heaped)
            check_the_best(numbers, depth, part)


def check_the_best(numbers, depth, part):
    best, room = Best(len(numbers), depth, numbers.shape[1]), torch.empty(numbers.numel())
    for some in numbers.split(part, dim=1):
        best.add(room[: some.numel()].view(some.shape).copy_(some))  # each part is in the memory of the last one
    values, columns = best.sorted()
    found = min(depth, numbers.shape[1])
    assert np.array_equal(values[:, :found], -np.sort(-numbers.numpy(), axis=1)[:, :depth])
    assert np.array_equal(np.take_along_axis(numbers.numpy(), columns[:, :found], axis=1), values[:, :found])
    assert all(len(set(row)) == found for row in columns[:, :found].tolist())
    assert (columns[:, found:] == -1).all() and (values[:, found:] == -np.inf).all()
