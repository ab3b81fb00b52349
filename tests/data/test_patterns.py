from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data import patterns as patterns_module
from recbole_raserec.data.patterns import Patterns, find_containing, mine_patterns, pair_patterns
from recbole_raserec.data.sequences import Sequences

histories = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=9), min_size=1, max_size=8)


def of_lists(lists: list[list[int]]) -> Sequences:
    users = np.repeat(np.arange(1, len(lists) + 1), [len(items) for items in lists])
    return Sequences.from_sorted(users, np.array([item for items in lists for item in items]))


def as_lists(patterns: Patterns) -> list[tuple[int, ...]]:
    return [tuple(part.tolist()) for part in np.split(patterns.items, patterns.offsets[1:-1]) if len(part)]


def mined_by_hand(lists: list[list[int]], window: int, min_support: int) -> dict[tuple[int, ...], int]:
    owners = defaultdict(set)
    for owner, items in enumerate(lists):
        for size in range(2, window + 1):
            for at in combinations(range(len(items)), size):
                if at[-1] - at[0] < window:
                    owners[tuple(items[i] for i in at)].add(owner)
    return {pattern: len(who) for pattern, who in owners.items() if len(who) >= min_support}


def contains(items: list[int], pattern: tuple[int, ...]) -> bool:
    rest = iter(items)
    return all(item in rest for item in pattern)


@given(histories, st.integers(2, 6), st.integers(1, 3), st.integers(1, 9), st.sampled_from([1, 30_000]))
def test_patterns_are_those_of_brute_force(lists, window, min_support, starts, factor):
    lists = [[factor * item for item in items] for items in lists]  # ids of more than 16 bits as well
    with mock.patch.object(patterns_module, "_STARTS", starts):
        patterns = mine_patterns(of_lists(lists), window, min_support)
    found = as_lists(patterns)
    expected = mined_by_hand(lists, window, min_support)
    assert dict(zip(found, patterns.support.tolist())) == expected
    assert found == sorted(expected, key=lambda pattern: (len(pattern), pattern))


@given(histories, histories)
def test_containing_is_being_a_subsequence_with_any_gaps(lists, others):
    sequences, patterns = of_lists(lists), mine_patterns(of_lists(others), 4, 1)
    found = list(zip(*(column.tolist() for column in find_containing(sequences, patterns))))
    expected = [
        (s, p)
        for p, pattern in enumerate(as_lists(patterns))
        for s, items in enumerate(lists)
        if contains(items, pattern)
    ]
    assert found == expected


@given(histories, st.integers(1, 4), st.integers(0, 5))
def test_each_sequence_gets_as_many_of_its_patterns_as_asked(lists, per_sequence, seed):
    sequences = of_lists(lists)
    patterns = mine_patterns(sequences, 5, 1)
    everything = set(zip(*(column.tolist() for column in find_containing(sequences, patterns))))
    pairs = list(zip(*(column.tolist() for column in pair_patterns(sequences, patterns, per_sequence, seed))))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) <= everything
    for s in range(len(lists)):
        count = sum(1 for pair in pairs if pair[0] == s)
        assert count == min(per_sequence, sum(1 for pair in everything if pair[0] == s))
    assert pairs == sorted(pairs)


def test_pairs_depend_on_the_seed():
    sequences = of_lists([list(range(1, 12))] * 3)
    patterns = mine_patterns(sequences, 5, 2)
    draws = [pair_patterns(sequences, patterns, 3, seed)[1].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_no_pattern_in_nothing():
    patterns = mine_patterns(of_lists([[1], [2]]), 5, 2)
    assert len(patterns) == 0
    assert all(len(column) == 0 for column in find_containing(of_lists([[1, 2]]), patterns))
