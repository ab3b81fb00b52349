from __future__ import annotations

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.convert import HEADER, convert
from recbole_raserec.data.interactions import k_core_of
from recbole_raserec.data.rows import BadLineError
from recbole_raserec.data.tokens import check_token, token
from recbole_raserec.errors import ConfigError, DataError
from recbole_raserec.retrieval.names import PADDING

GOOD = "1 5 6 7 8\n2 6 7 5 9\n"
CSV = "user_id,item_id,timestamp,note\n" + "".join(f"{u},{i},{t},n\n" for u in "uv" for t, i in enumerate("abcd"))
DAMAGED = bytearray(gzip.compress(CSV.encode() * 9, mtime=0))
DAMAGED[20:24] = b"\xff" * 4


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


@pytest.mark.parametrize("name", ["my shop", "a/b", "/a/b", "..", ""])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ConfigError, match="not a folder name"):
        convert(write(GOOD), "sequences", name, "out", show_progress=False)
    assert not Path("out").exists()


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
        ("[" * 100_000, "json", "line 1.*nested too deeply"),
        ("[{}]\n", "json", "line 1.*not a JSON object"),
        ('{"user": "\\ud800", "item": 1, "time": 1}\n', "json", "line 1.*the user .* no atomic file can hold"),
        (CSV.replace("\n", "\r"), "csv", "line 1.*header cannot be read.*carriage return"),
        (CSV + "u,a\rb,5,n\n", "csv", "line 10.*carriage return"),
        (CSV + "u,a,5\r,n\n", "csv", "line 10.*carriage return"),
        (CSV + "\n\nu,a,5\r,n\n", "csv", "line 12.*carriage return"),
        (CSV + 'u,"a,5,n\nu,b,6,n\n', "csv", "line 10.*does not end"),
        (CSV + 'u,"a"b,5,n\n', "csv", "line 10.*not in pairs"),
        (CSV + '"u,a,5,n\nu,b",6,7,n\n', "csv", "line 10.*several lines"),
        (CSV + '"u,a,5,n\nu,b",6,7,n,o\n', "csv", "line 10.*5 fields, not 4"),
        ('user_id,"item_id,timestamp\nu,a,5\n', "csv", "line 1.*header cannot be read.*does not end"),
        (CSV.encode() + b"u,a,5,\0\n", "csv", "line 10 is not text"),
        (CSV.encode() + b"u,\xe9,5,n\n", "csv", "line 10 is not text"),
        (CSV + "u,None,5,n\n", "csv", "line 10.*the item is 'None'"),
        (CSV + 'u,"""a""",5,n\n', "csv", "line 10.*starts with a quotation mark"),
        (bytes(DAMAGED), "csv", "broken gzip"),
        (gzip.compress(CSV.encode(), mtime=0)[:-9], "csv", "broken gzip"),
        (gzip.compress(CSV.encode(), mtime=0)[:-8] + b"\0" * 8, "csv", "broken gzip"),
        (b"PAR1 and no more", "parquet", "not a readable Parquet file"),
        ("", "parquet", "not a readable Parquet file"),
        (CSV + "u,e,1705658400000,n\n", "csv", "=1705658400000: the times are in seconds by their median"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(text, data_format, says):
    with pytest.raises(DataError, match=says):
        run(text, data_format)
    assert not Path("out").exists()


def test_bad_lines_are_skipped_and_counted():
    done = run(GOOD + "3 x\n4 0\n5 1 2\n", on_bad_line="skip")
    assert (done.skipped_lines, done.users, done.short_users) == (2, 3, 1)


def test_fields_over_several_lines_are_read():
    note = '"first ""line""\n\n\r third, and more\n"'
    done = run(CSV.replace(",n\n", f",{note}\n"), "csv")
    assert rows(done.path) == rows(run(CSV, "csv").path)
    with pytest.raises(DataError, match=r"line 34.*1 fields, not 4"):  # the number of the line in the file
        run(CSV.replace(",n\n", f",{note}\n") + "u\n", "csv")


@pytest.mark.parametrize("bad", ['u,"a,5,n', '"u,a,5,n', 'u,a,"5,n', '"u"u,a,5,n', "u,a\rb,5,n", "u,a,5"])
def test_a_bad_line_hides_no_other_line(bad):
    done = run(f"{CSV}{bad}\nw,x,7,n\nw,y,8,n\n", "csv", on_bad_line="skip")
    assert (done.skipped_lines, done.interactions) == (1, 10)
    done = run(f'{CSV}{bad}\nw,x,7,n\nw,y",8,n\n', "csv", on_bad_line="skip")  # a quotation mark that closes it
    assert (done.skipped_lines, done.interactions) == (1, 10)


def test_lines_after_a_stray_quotation_mark_keep_their_order():
    done = run(CSV + 'u,"a,5,n\nw,x,7,n\nw,y,7,n\nw,z,7,n\n', "csv", on_bad_line="skip")
    assert [row[1] for row in rows(done.path)[-3:]] == ["x", "y", "z"]


def test_names_that_the_user_gives_win():
    text = CSV.replace("user_id,item_id,timestamp,note", "item,user,timestamp,user_id")
    done = run(text, "csv", user="item", item="user")
    assert rows(done.path) == rows(run(CSV, "csv").path)
    for data_format, text in (("csv", CSV), ("json", '{"user_id": 1, "item_id": 2, "timestamp": 3}\n')):
        with pytest.raises(DataError, match="usr"):  # although user_id is there
            run(text, data_format, user="usr")


def test_nothing_left_tells_the_first_bad_line():
    with pytest.raises(DataError, match=r"2 bad lines, the first is in.txt line 1: 'x' is not a whole number"):
        run("x 1\ny 2\n", on_bad_line="skip")


@pytest.mark.parametrize(
    ("ticks", "unit"), [(1, "seconds"), (1000, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")]
)
def test_times_are_written_in_seconds(ticks, unit):
    times = [1_705_658_400 + n for n in range(4)] * 2
    lines = [f"{u},{i},{t * ticks}" for u, i, t in zip("uuuuvvvv", "abcdabcd", times)]
    done = run("\n".join(["user_id,item_id,timestamp", *lines]), "csv")
    assert [row[2] for row in rows(done.path)] == [str(t) for t in times]
    assert done.time_unit == unit


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


def test_a_whole_decimal_is_a_token_and_the_name_of_padding_is_none():
    assert token("user", Decimal("100000000000000000155")) == "100000000000000000155"
    with pytest.raises(BadLineError, match="neither text nor a number"):
        token("user", Decimal("NaN"))
    with pytest.raises(BadLineError, match="PAD"):
        check_token("item", PADDING)
