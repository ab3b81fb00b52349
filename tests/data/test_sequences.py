from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.sequences import Sequences

histories = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=8)


def flat(sequences: list[list[int]]) -> Sequences:
    users = np.repeat(np.arange(1, len(sequences) + 1), [len(s) for s in sequences])
    return Sequences.from_sorted(users, np.concatenate([np.array(s) for s in sequences]))


def recbole_split(sequence: list[int]) -> tuple[list[tuple], list[tuple], list[tuple]]:
    """RecBole's augmentation and leave-one-out for one user, as a plain loop: (prefix, target) pairs."""
    rows = [(tuple(sequence[:i]), sequence[i]) for i in range(1, len(sequence))]
    test = [rows.pop()] if len(rows) >= 2 else []
    valid = [rows.pop()] if test and len(rows) >= 2 else []
    return rows, valid, test


@given(histories)
def test_parts_are_recboles_leave_one_out(sequences):
    all_sequences = flat(sequences)
    expected = [[], [], []]
    for sequence in sequences:
        for rows, more in zip(expected, recbole_split(sequence)):
            rows.extend(more)
    parts = [all_sequences.train_part(), all_sequences.valid_part(), all_sequences.test_part()]
    for part, rows in zip(parts, expected):
        found = []
        for target_at, length in zip(part.target_at, part.lengths):
            prefix = tuple(all_sequences.items[target_at - length : target_at].tolist())
            found.append((prefix, int(all_sequences.items[target_at])))
        assert found == rows


@given(histories, st.integers(1, 6))
def test_windows_are_the_last_items_oldest_first(sequences, max_length):
    part = flat(sequences).test_part()
    rows = np.arange(len(part))
    positions, real = part.windows(rows, max_length)
    for row in rows:
        start, stop = part.target_at[row] - part.lengths[row], part.target_at[row]
        wanted = part.sequences.items[start:stop][-max_length:]
        assert part.sequences.items[positions[row]][real[row]].tolist() == wanted.tolist()
        assert real[row].tolist() == sorted(real[row].tolist(), reverse=True)  # padding on the right


@given(histories)
def test_histories_are_the_distinct_items_before_the_target(sequences):
    part = flat(sequences).test_part()
    rows = np.arange(len(part))[::-1]
    row, item = part.histories(rows)
    found = set(zip(row.tolist(), item.tolist()))
    assert len(found) == len(row)
    expected = set()
    for i, r in enumerate(rows):
        start, stop = part.target_at[r] - part.lengths[r], part.target_at[r]
        expected |= {(i, int(x)) for x in part.sequences.items[start:stop]}
    assert found == expected
