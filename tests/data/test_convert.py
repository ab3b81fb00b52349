from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.convert import HEADER, convert
from recbole_raserec.data.interactions import k_core_of
from recbole_raserec.errors import ConfigError, DataError

GOOD = "1 5 6 7 8\n2 6 7 5 9\n"


def write(text: str | bytes, name: str = "in.txt") -> Path:
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(path: Path) -> list[list[str]]:
    text = path.read_text()
    assert text.startswith(HEADER)
    return [line.split("\t") for line in text.splitlines()[1:]]


def run(text: str | bytes, data_format: str = "sequences", **options):
    return convert(write(text), data_format, "d", "out", show_progress=False, **options)


def test_sequences_keep_their_order():
    done = run(GOOD)
    assert rows(done.path) == [["1", i, str(t)] for t, i in enumerate("5678")] + [
        ["2", i, str(t)] for t, i in enumerate("6759")
    ]
    assert (done.users, done.items, done.interactions) == (2, 5, 8)


def test_csv_is_sorted_by_time_and_ties_keep_file_order():
    lines = ["user_id,item_id,rating,timestamp"]
    lines += ["u,b,1,20", "u,a,1,10", "v,x,2,1", "u,d,3,20", "u,c,1,20", "v,y,2,1", "v,z,2,1", "v,w,2,0"]
    done = run("\n".join(lines), "csv")
    assert [row[1] for row in rows(done.path)] == ["a", "b", "d", "c", "w", "x", "y", "z"]


def test_amazon_formats_agree_and_gzip_is_read():
    events = [("A1", "B1", 3), ("A1", "B2", 4), ("A1", "B3", 5), ("A1", "B4", 6), ("A2", "B1", 1)]
    as_csv = "".join(f"{u},{i},5.0,{t}\n" for u, i, t in events)
    as_json = "".join(json.dumps({"reviewerID": u, "asin": i, "unixReviewTime": t}) + "\n" for u, i, t in events)
    first = rows(run(as_csv, "amazon-csv").path)
    second = rows(run(gzip.compress(as_json.encode()), "amazon-json").path)
    assert first == second == [[u, i, str(t)] for u, i, t in events]


@pytest.mark.parametrize(
    ("text", "data_format", "says"),
    [
        ("", "sequences", "empty"),
        ("\n\n", "sequences", "no interaction"),
        (b"\x00\x01\x02", "sequences", "not text"),
        (b"\xff\xfe1 2 3 4", "sequences", "not text"),
        (b"\x1f\x8b\x08broken", "sequences", "broken gzip"),
        ("1 2 3 4 5\n", "sequences", "only one user"),
        ("1 2\n2 3 4\n3 4 5 6\n", "sequences", "no user has 4 items"),
        (GOOD + f"3 {2**40}\n", "sequences", "line 3.*2\\^31"),
        (GOOD + "3 0\n", "sequences", "line 3"),
        (GOOD + "3 -4\n", "sequences", "line 3.*whole number"),
        (GOOD + "3 nan\n", "sequences", "line 3.*whole number"),
        (GOOD + "3\n", "sequences", "user 3 has no item"),
        (GOOD + "1 3\n", "sequences", "user 1 had a line before"),
        ("user_id,item_id,item_id,timestamp\n1,2,3,4\n", "csv", "item_id.*twice"),
        ("user_id,item_id\n1,2\n", "csv", "no column for the time"),
        ("user_id,item_id,timestamp\n1,2\n", "csv", "line 2.*2 fields, not 3"),
        ("user_id,item_id,timestamp\n1,2,NaN\n", "csv", "line 2.*time"),
        ("user_id,item_id,timestamp\n1,nan,3\n", "csv", "line 2.*item is 'nan'"),
        ("{broken\n", "amazon-json", "line 1.*not JSON"),
        ('{"asin": "B"}\n', "amazon-json", "no user"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(text, data_format, says):
    with pytest.raises(DataError, match=says):
        run(text, data_format)
    assert not Path("out").exists()


def test_bad_lines_are_skipped_and_counted():
    done = run(GOOD + "3 x\n4 0\n5 1 2\n", on_bad_line="skip")
    assert (done.skipped_lines, done.users, done.short_users) == (2, 3, 1)


def test_a_failed_conversion_leaves_the_old_file(monkeypatch):
    path = run(GOOD).path
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigError, match="No space"):
        run("1 1 2 3 4\n2 2 3 4 5\n")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60), st.integers(0, 4))
def test_k_core_is_the_largest_set_where_all_have_k(events, k):
    users, items = np.array([u for u, _ in events], int), np.array([i for _, i in events], int)
    left = list(range(len(events)))
    while k > 1:
        kept = [
            e
            for e in left
            if sum(users[f] == users[e] for f in left) >= k and sum(items[f] == items[e] for f in left) >= k
        ]
        if kept == left:
            break
        left = kept
    assert k_core_of(users, items, k).tolist() == left
