from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.patterns import mine_patterns
from recbole_raserec.data.sequences import Sequences
from recbole_raserec.data.splits import Split
from recbole_raserec.regeneration.decoding import Decoded
from recbole_raserec.regeneration.rows import extend, find_leaks, rows_of_decoded, rows_of_patterns
from recbole_raserec.runtime.ragged import offsets_of

histories = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=7), min_size=1, max_size=4)
written = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(1, 4), max_size=5)), max_size=8)


def of_lists(lists: list[list[int]]) -> Sequences:
    users = np.repeat(np.arange(1, len(lists) + 1), [len(items) for items in lists])
    return Sequences.from_sorted(users, np.array([item for items in lists for item in items]))


def decoded_of(rows: list[tuple[int, list[int]]], owners: int) -> Decoded:
    items = np.array([item for _, row in rows for item in row], np.int64)
    offsets = offsets_of([len(row) for _, row in rows]).astype(np.int64)
    owner = np.array([who % owners for who, _ in rows], np.int64)
    return Decoded(items, offsets, owner)


def leave_one_out(history: list[int]) -> int:
    """The number of held-out items."""
    return {3: 1}.get(len(history), 2 if len(history) >= 4 else 0)


def leaks_by_hand(row: list[int], history: list[int], held_out: int) -> list[int]:
    """Positions of held-out items, the last of the history, that follow the item that they truly follow."""
    return [
        at
        for at, item in enumerate(row)
        if any(
            history[-n] == item and history[-n - 1] in row[:at] for n in range(1, min(held_out, len(history) - 1) + 1)
        )
    ]


@given(histories, written, st.none() | st.lists(st.integers(0, 7), min_size=4, max_size=4))
def test_the_guard_cuts_each_row_before_its_own_users_first_held_out_transition(lists, rows, trained):
    """Under a split by time any number of items may be held out: all but the first ``trained`` of each user."""
    sequences = of_lists(lists)
    held_out = [leave_one_out(items) for items in lists]
    if trained is not None:
        train = np.minimum(trained[: len(lists)], sequences.lengths)
        none = np.full(len(lists), -1)
        sequences = replace(sequences, split=Split(train=train, valid=none, test=none, known=sequences.lengths))
        held_out = (sequences.lengths - train).tolist()
    kept, cut = rows_of_decoded(decoded_of(rows, len(lists)), sequences)
    expected, count = [], 0
    for who, row in rows:
        leaks = leaks_by_hand(row, lists[who % len(lists)], held_out[who % len(lists)])
        count += bool(leaks)
        short = tuple(row[: leaks[0]] if leaks else row)
        if len(short) >= 2 and short not in expected:
            expected.append(short)
    assert [tuple(kept.items[a:b].tolist()) for a, b in zip(kept.offsets, kept.offsets[1:])] == expected
    assert cut == count
    assert len(find_leaks(kept, sequences)) == 0


@given(histories)
def test_generated_rows_are_training_and_evaluation_is_untouched(lists):
    sequences = of_lists(lists)
    patterns = mine_patterns(sequences.training_only(), 5, 1)
    both = extend(sequences, rows_of_patterns(patterns), ["original", "patterns"], {"patterns": 0.5}, len(lists) + 3)
    assert both.original == len(lists)
    assert len(set(both.users.tolist())) == len(both)
    assert both.users[both.original :].tolist() == list(range(len(lists) + 3, len(lists) + 3 + both.generated))
    for part in ("valid_part", "test_part"):
        old, new = getattr(sequences, part)(), getattr(both, part)()
        assert (old.target_at == new.target_at).all()
        assert (old.sequence == new.sequence).all()
    train = both.train_part()
    mine = train.sequence < both.original
    assert (train.target_at[mine] == sequences.train_part().target_at).all()
    assert (train.target_at[mine] == both.train_part(generated=False).target_at).all()
    assert (~mine).sum() == (patterns.lengths - 1).sum()
    assert (both.weights[both.original :] == 0.5).all()


@given(histories)
def test_training_only_is_what_training_may_see(lists):
    training = of_lists(lists).training_only()
    held_out = [{3: 1}.get(len(items), 2 if len(items) >= 4 else 0) for items in lists]
    expected = [items[: len(items) - out] for items, out in zip(lists, held_out)]
    assert [p.tolist() for p in np.split(training.items, training.offsets[1:-1])] == expected
    recent = training.recent(2)
    assert [p.tolist() for p in np.split(recent.items, recent.offsets[1:-1])] == [items[-2:] for items in expected]
