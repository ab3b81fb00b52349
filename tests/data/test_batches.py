from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.batches import TARGET_SEQ, PackedLoader, batch_windows, shortest_stride, training_windows
from recbole_raserec.data.sequences import Sequences

lengths_strategy = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def numbered(lengths: list[int]) -> Sequences:
    """Sequences whose items are all different, so an item identifies its position."""
    users = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    return Sequences.from_sorted(users, np.arange(1, len(users) + 1))


def whole(block) -> list[list[int]]:
    """The targets of a block at all positions of its windows."""
    missing = block["item_seq"].shape[1] - block[TARGET_SEQ].shape[1]
    return [[0] * missing + row for row in block[TARGET_SEQ].tolist()]


def pairs_of(loader: PackedLoader) -> Counter:
    """Every (prefix, target) pair that has a loss in an epoch."""
    found: Counter = Counter()
    for batch in loader:
        for block in batch:
            for items, targets in zip(block["item_seq"].tolist(), whole(block)):
                for at, target in enumerate(targets):
                    if target:
                        found[tuple(items[: at + 1]), target] += 1
    return found


@given(lengths_strategy, st.integers(1, 12), st.integers(1, 30))
def test_an_epoch_holds_recboles_training_pairs_exactly_once(lengths, max_length, budget):
    sequences = numbered(lengths)
    loader = PackedLoader(sequences, "item_seq", max_length, budget, seed=0)
    train = sequences.train_part()
    expected = Counter()
    for target_at, length in zip(train.target_at, train.lengths):
        prefix = sequences.items[target_at - min(length, max_length) : target_at]
        expected[tuple(prefix.tolist()), int(sequences.items[target_at])] += 1
    assert pairs_of(loader) == expected


@given(lengths_strategy, st.integers(2, 12), st.data())
def test_a_longer_stride_holds_every_target_once_and_keeps_most_of_the_prefix(lengths, max_length, data):
    stride = data.draw(st.integers(1, max_length))
    sequences = numbered(lengths)
    found = pairs_of(PackedLoader(sequences, "item_seq", max_length, 64, seed=0, stride=stride))
    train = sequences.train_part()
    assert Counter(target for _, target in found.elements()) == Counter(train.targets.tolist())
    length_of = dict(zip(train.targets.tolist(), train.lengths.tolist()))
    for prefix, target in found:
        assert prefix[-1] == target - 1  # contiguous up to the target
        assert len(prefix) >= min(length_of[target], max_length - stride + 1)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 60))
def test_auto_is_the_smallest_stride_that_encodes_at_most_two_tokens_a_pair(lengths, max_length):
    sequences = numbered(lengths)
    pairs = len(sequences.train_part())

    def tokens(stride):
        return training_windows(sequences, max_length, stride).length.sum()

    chosen = shortest_stride(sequences, max_length)
    assert 1 <= chosen <= max_length
    assert tokens(chosen) <= 2 * pairs
    assert chosen == 1 or tokens(chosen - 1) > 2 * pairs
    assert PackedLoader(sequences, "item_seq", max_length, 64, seed=0, stride="auto").stride == chosen


def test_auto_ignores_sequences_without_weight():
    long, short = numbered([400, 20]), numbered([20])
    weighted = dataclasses.replace(long, weights=np.array([0.0, 1.0]))
    assert shortest_stride(long, 50) > shortest_stride(weighted, 50) == shortest_stride(short, 50) == 1


@given(lengths_strategy, st.integers(1, 50), st.integers(0, 5))
def test_batches_divide_the_windows_within_the_budget(lengths, budget, seed):
    windows = training_windows(numbered(lengths), max_length=6)
    batches = batch_windows(windows, budget, np.random.default_rng(seed))
    assert sorted(np.concatenate([*batches, []])) == list(range(len(windows)))
    for rows in batches:
        assert windows.pairs[rows].sum() <= budget or len(rows) == 1


def test_order_depends_on_seed_and_epoch_alone():
    loader = PackedLoader(numbered([9] * 30), "item_seq", 5, 20, seed=3)

    def order(epoch):
        loader.set_epoch(epoch)
        return [rows.tolist() for rows in loader._batches]

    first = order(1)
    assert order(2) != first
    assert order(1) == first


def test_blocks_hold_little_padding():
    loader = PackedLoader(numbered([3] * 200 + [50] * 20), "item_seq", 50, 256, seed=0)
    cells = sum(block["item_seq"].numel() for batch in loader for block in batch)
    items = sum(int((block["item_seq"] > 0).sum()) for batch in loader for block in batch)
    assert cells < 1.1 * items
