"""Own data as people have it: any delimiter, JSON lines, Parquet, frames; each gives the same atomic file."""

from __future__ import annotations

import json
import random
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.convert import convert
from recbole_raserec.data.frames import BLOCK
from recbole_raserec.errors import ConfigError, DataError, RaSeRecError

NAMES = {"user": "customer", "item": "product", "time": "date"}
COLUMNS = list(NAMES.values())


def run(source: Any, data_format: str = "auto", **options: Any):
    return convert(source, data_format, "d", "out", show_progress=False, **{**NAMES, **options})


def frame_of(**changed: Any) -> pd.DataFrame:
    """Two users with four items each; ``changed`` replaces columns."""
    columns = {"customer": ["u"] * 4 + ["v"] * 4, "product": list("abcdabcd"), "date": [1.0, 2, 3, 4] * 2}
    return pd.DataFrame({**columns, **changed})


def text_of(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def write(text: str, name: str = "in.csv") -> Path:
    Path(name).write_bytes(text.encode())
    return Path(name)


def csv_text(frame: pd.DataFrame, delimiter: str = ",") -> str:
    return frame.to_csv(index=False, sep=delimiter, lineterminator="\n")


def bytes_of(source: Any, **options: Any) -> bytes:
    return run(source, **options).path.read_bytes()


# No white space at the ends, no quote at the start: the tokens that an atomic file can hold.
TOKENS = st.text("ab,;|\"' é7", min_size=1, max_size=4).filter(lambda t: t == t.strip() and t[0] != '"')
DATES = st.integers(-(2**40), 2**41).map(lambda count: pd.Timestamp(count, unit="ms"))
UNITS = (0, 10**11), (10**11, 10**14), (10**14, 10**17), (10**17, 2 * 10**18)  # seconds to nanoseconds
NUMBERS = [st.integers(first, end // 2) for first, end in UNITS]


@given(
    st.lists(st.tuples(TOKENS, TOKENS), min_size=8, max_size=30),
    st.sampled_from([DATES, *NUMBERS]).flatmap(lambda times: st.lists(times, min_size=30, max_size=30)),
    st.sampled_from([",", ";", "\t", "|", "~"]),
)
def test_every_form_gives_the_same_file(pairs, times, delimiter):
    frame = pd.DataFrame([(*pair, time) for pair, time in zip(pairs, times)], columns=COLUMNS)
    frame = pd.concat([frame, frame_of(date=list(frame.date[:8]))], ignore_index=True)  # so that it can be split
    as_text = frame.assign(date=frame.date.astype(str))
    given = None if delimiter == "," else delimiter
    expected = bytes_of(frame)
    assert bytes_of(write(csv_text(frame, delimiter)), delimiter=given) == expected
    assert bytes_of(write(as_text.to_json(orient="records", lines=True), "in.jsonl")) == expected
    frame.to_parquet("in.parquet")
    assert bytes_of("in.parquet") == expected
    table = pa.Table.from_pandas(frame)
    assert bytes_of(table) == expected
    assert bytes_of(pa.concat_tables([table.slice(0, 3), table.slice(3)])) == expected
    if frame.date.dtype.kind == "M":
        assert bytes_of(frame.assign(date=frame.date.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))) == expected
        assert bytes_of(frame.astype({"date": object})) == expected


@pytest.mark.parametrize("name", ["in.csv", "in.CSV", "in.tsv"])
def test_the_header_tells_the_delimiter(name):
    for delimiter in ",;\t|":
        assert run(write(csv_text(frame_of(), delimiter), name)).interactions == 8
    frame = frame_of(**{"a;b;c;d;e": 1})  # more semicolons than commas, but the commas show the columns
    assert run(write(csv_text(frame), name)).interactions == 8


def test_blocks_keep_rows_in_order_and_in_number():
    order = random.Random(0).sample(range(BLOCK + 10), BLOCK + 10)
    frame = pd.DataFrame({"customer": "u", "product": [f"i{n}" for n in order], "date": order})
    frame = pd.concat([frame, frame_of()], ignore_index=True)
    frame.to_parquet("in.parquet")
    for source in (frame, "in.parquet", pa.Table.from_pandas(frame)):
        rows = text_of(run(source).path)
        assert [row[1] for row in rows[:-8]].count("i7") == 1
        assert [float(row[2]) for row in rows if row[1].startswith("i")] == sorted(map(float, order))
    bad = frame.astype({"customer": object})
    bad.loc[BLOCK + 5, "customer"] = None
    bad.to_parquet("in.parquet")
    for source in (bad, "in.parquet"):
        with pytest.raises(DataError, match=f"row {BLOCK + 5}: the user is missing"):
            run(source)


@pytest.mark.parametrize(
    ("ids", "tokens"),
    [
        ([1] * 4 + [2] * 4, "12"),
        ([1.0] * 4 + [2.0] * 4, "12"),
        (pd.array([1] * 4 + [2] * 4, dtype="Int64"), "12"),
        (np.array([1] * 4 + [2] * 4, dtype=np.uint8), "12"),
        (pd.Categorical(["x"] * 4 + ["y"] * 4), "xy"),
        (["x"] * 4 + [7] * 4, "x7"),
    ],
)
def test_ids_of_frames(ids, tokens):
    frame = frame_of(customer=ids)
    rows = text_of(run(frame).path)
    assert [row[0] for row in rows] == [token for token in tokens for _ in range(4)]
    if frame.customer.dtype != object:
        frame.to_parquet("in.parquet")
        assert text_of(run("in.parquet").path) == rows


def test_whole_floats_beside_a_missing_id():
    done = run(frame_of(customer=[1] * 4 + [2] * 3 + [None]), on_bad_line="skip")
    assert (done.skipped_lines, {row[0] for row in text_of(done.path)}) == (1, {"1", "2"})


BAD_IDS = [True, [1], {"a": 1}, None, float("nan"), pd.NaT, b"x", datetime(2024, 1, 1), float("inf"), 2.0**60]
BAD_TEXTS = ["", "nan", "a\tb", "a\nb", "a\rb", "a\0b", '"a']
BAD_TIMES = [None, float("nan"), float("inf"), pd.NaT, True, "soon", "2024-13-01", [1], 10**400]


@pytest.mark.parametrize(
    ("column", "value"),
    [(c, v) for c in ("customer", "product") for v in BAD_IDS + BAD_TEXTS] + [("date", v) for v in BAD_TIMES],
)
def test_bad_values_of_frames_are_bad_lines(column, value):
    frame = frame_of().astype(object)
    frame.at[5, column] = value
    what = next(what for what, name in NAMES.items() if name == column)
    with pytest.raises(DataError, match=f"row 5: the {what} ") as caught:
        run(frame)
    assert "\n" not in str(caught.value)
    done = run(frame, on_bad_line="skip")
    assert (done.skipped_lines, done.interactions) == (1, 7)


@pytest.mark.parametrize("value", ["ids", "times"])
def test_columns_of_a_wrong_type(value):
    days = pd.date_range("2024-01-01", periods=8)
    frames = {"ids": frame_of(customer=days), "times": frame_of(date=days.to_period("D"))}
    with pytest.raises(DataError, match="row 0"):
        run(frames[value])
    with pytest.raises(DataError, match="row 0"):
        run(pa.Table.from_pandas(frames[value]))


@pytest.mark.parametrize("first", [5, "2024-01-19"])
def test_dates_among_numbers_are_bad_lines(first):
    other = {5: "2024-01-19", "2024-01-19": 5}[first]
    frame = frame_of(date=pd.Series([first] * 6 + [other] * 2, dtype=object))
    frame.loc[5, "product"] = None  # a bad line does not decide, nor does it hide another one
    done = run(frame, on_bad_line="skip")
    assert (done.skipped_lines, done.interactions) == (3, 5)
    for source, number in ((frame.drop(5), "row 5"), (write(csv_text(frame.drop(5))), "line 7")):
        with pytest.raises(DataError, match=f"{number}: the time .* is a .*, and the times before it are"):
            run(source)


def test_a_bad_first_row_does_not_decide_between_dates_and_numbers():
    frame = frame_of(date=pd.Series(["2024-01-19"] + [5] * 7, dtype=object), product=[None, *"bcdabcd"])
    assert run(frame, on_bad_line="skip").time_unit == "seconds"


def test_arrow_times_in_every_unit():
    moment = datetime(2024, 1, 19, 10, tzinfo=timezone.utc)
    for kind in [pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "Asia/Tokyo")]:
        times = pa.array([moment] * 8, pa.timestamp("us", "UTC")).cast(kind)
        table = pa.table({"customer": ["u"] * 4 + ["v"] * 4, "product": list("abcdabcd"), "date": times})
        pq.write_table(table, "in.parquet")
        chunks = pa.concat_tables([table.slice(0, 3), table.slice(3)]).to_pandas(types_mapper=pd.ArrowDtype)
        coded = table.set_column(2, "date", times.dictionary_encode())
        for source in (table, "in.parquet", chunks, coded):
            assert {row[2] for row in text_of(run(source).path)} == {"1705658400"}
    for kind in (pa.date32(), pa.date64()):
        table = table.set_column(2, "date", pa.array([moment.date()] * 8, kind))
        assert {row[2] for row in text_of(run(table).path)} == {"1705622400"}
        assert {row[2] for row in text_of(run(table.to_pandas()).path)} == {"1705622400"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "frame"])
def test_a_column_that_does_not_exist(suffix):
    frame = frame_of()
    sources = {"frame": frame}
    if suffix == "parquet":
        frame.to_parquet("in.parquet")
    elif suffix != "frame":
        text = csv_text(frame) if suffix == "csv" else frame.to_json(orient="records", lines=True)
        write(text, f"in.{suffix}")
    with pytest.raises(DataError, match=r"user.*'custmer'.*customer, product, date.*did you mean 'customer'"):
        run(sources.get(suffix, f"in.{suffix}"), user="custmer")
    with pytest.raises(DataError, match=r"time.*'zzz'.*customer, product, date"):
        run(sources.get(suffix, f"in.{suffix}"), time="zzz")


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("in.txt", {}, "input='in.txt': the file's name does not tell its format"),
        ("in.gz", {}, "does not tell its format"),
        ("in.csv", {"delimiter": ";;"}, "delimiter=';;': not one character"),
        ("in.csv", {"delimiter": '"'}, "not one character"),
        ("in.jsonl", {"delimiter": ";"}, "the format json has no delimiter"),
        ("in.csv", {"data_format": "sequences"}, "user='customer': the format sequences has no named columns"),
        ("in.csv", {"data_format": "tsv"}, "format='tsv': unknown format"),
        ("in.csv", {"title": "t"}, "title='t': there is no table of items"),
        ({"customer": [1]}, {}, "input='dict': cannot be read"),
        (frame_of(), {"data_format": "csv"}, "format='csv': a frame has no format"),
        (frame_of(), {"user": "product"}, "item='product': the user and the item are the same column"),
    ],
)
def test_options_that_do_not_fit(source, options, says):
    if isinstance(source, str):
        write(csv_text(frame_of()), source)
    with pytest.raises(RaSeRecError, match=says):
        run(source, **options)
    assert not Path("out").exists()


def test_json_values_and_their_types():
    lines = [{"user": 1, "item": i, "time": t} for i, t in zip(["a", "b", 3, 4.0], [4, 3.5, "2", "1"])]
    lines += [{"user": "v", "item": i, "time": 1, "asin": "x"} for i in range(4)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = convert(write(text, "in.json"), "auto", "d", "out", show_progress=False)
    assert [row[1] for row in text_of(done.path)] == ["4", "3", "b", "a", "0", "1", "2", "3"]


def test_a_frame_needs_a_folder_that_can_be_written():
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="data_path"):
        convert(frame_of(), "auto", "d", "locked/new", show_progress=False, **NAMES)
