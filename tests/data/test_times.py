from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.rows import BadLineError
from recbole_raserec.data.times import Seconds, Times, read_time, seconds_of, unit_of

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=ZONES)


@given(MOMENTS, st.sampled_from(["T", " "]))
def test_iso_text_is_its_moment(moment, between):
    text = moment.isoformat(between)
    expected = moment.timestamp()
    assert read_time(text) == pytest.approx(expected, abs=1e-6)
    assert read_time(f" {text} ") == read_time(moment) == read_time(pd.Timestamp(moment)) == read_time(text)
    in_utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    assert read_time(in_utc.isoformat()) == read_time(f"{in_utc.isoformat()}Z") == read_time(text)  # naive is UTC


@given(st.integers(-(10**18), 4 * 10**18))
def test_a_moment_is_the_same_float_in_every_unit_and_as_text(count):
    for ticks, unit in ((1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")):
        counts = np.array([count // (10**9 // ticks)])
        exact = seconds_of(counts, ticks)[0]
        text = str(np.datetime64(int(counts[0]), unit)).replace("T", " ")
        assert read_time(text) == exact
        assert seconds_of(counts * (10**9 // ticks), 10**9)[0] == exact


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-19", 1705622400),
        ("2024-01-19 10:00", 1705658400),
        ("2024-01-19 10:00:00", 1705658400),
        ("2024-01-19T10:00:00Z", 1705658400),
        ("2024-01-19 10:00:00 UTC", 1705658400),
        ("2024-01-19T11:00:00+01:00", 1705658400),
        ("2024-01-19T11:00:00+0100", 1705658400),
        ("2024-01-19T04:30:00-05:30", 1705658400),
        ("2024-01-19T11:00:00+01", 1705658400),
        ("2024-01-19 10:00:00.25", 1705658400.25),
        ("1969-12-31 23:59:59.5", -0.5),
    ],
)
def test_forms_of_dates(text, seconds):
    assert read_time(text) == seconds
    assert type(read_time(text)) is Seconds


@pytest.mark.parametrize("text", ["5", " 5.5 ", "1.5e-5", "-3", "1e9", "0"])
def test_forms_of_numbers(text):
    assert read_time(text) == float(text)
    assert type(read_time(text)) is float


@pytest.mark.parametrize(
    "value",
    [
        "", "nan", "inf", "-inf", "NaT", "None", "19/01/2024", "2024-1-9", "2024-02-30", "2024-01-19 24:00:00",
        "2024-01-19 10:61:00", "2024-01-19T10:00:00+24:00", "2024-01-19T10:00:00+01:60", "2024-01-19 10", "10:00:00",
        "2024-01-19x", "2024-01-19 10:00:00\n5", None, True, np.True_, float("nan"), float("inf"), pd.NaT, pd.NA,
        b"5", [5], {}, timedelta(1), 10**400, 1j,
    ],
)  # fmt: skip
def test_what_is_no_time(value):
    with pytest.raises(BadLineError, match="neither a number nor a date"):
        read_time(value)


@pytest.mark.parametrize(
    ("ticks", "unit"), [(1, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")]
)
def test_units_by_magnitude(ticks, unit):
    for first, last in (("1974-01-01", "1975-01-01"), ("2010-01-01", "2030-01-01"), ("2200-01-01", "5000-01-01")):
        ends = [read_time(first), read_time(last)]
        assert unit_of(np.linspace(*ends, 5) * ticks) == (unit, ticks)


def test_the_median_decides_for_the_whole_column():
    times = Times()
    for value in [0, 5, 1_705_658_400_000, 1_705_658_400_001, 1_705_658_400_002]:
        times.append(value)
    assert times.unit() == ("milliseconds", 1e3)
    assert unit_of(np.zeros(0)) == unit_of(np.arange(9)) == ("seconds", 1.0)


@pytest.mark.parametrize(
    ("values", "late"),
    [
        ([1_705_658_400, 1_705_658_401, 1_705_658_402_000], 1_705_658_402_000),
        ([1_705_658_400, 1_705_658_401_000, 1_705_658_402_000], None),  # the first may be early in 1970
        ([5, 1e11 - 1], None),
        ([5, 5, 1e11], 1e11),
        ([0, 0.6e11, 1.2e11], None),  # a clock in milliseconds that starts at 0
        ([1e18, 1e18, 1e21], 1e21),
        (["9999-12-31", "1970-01-01", "1970-01-01"], None),
    ],
)
def test_a_time_of_a_finer_unit_than_the_others_is_found(values, late):
    times = Times()
    for value in values:
        times.append(value)
    assert times.of_finer_unit(times.raw() / times.unit()[1]) == late


def test_dates_are_seconds_however_late():
    times = Times()
    times.append("9999-12-31")
    times.append("1969-01-01")
    assert times.unit() == ("dates", 1.0)
    with pytest.raises(BadLineError, match="'5' is a number, and the times before it are dates"):
        times.append("5")
    assert len(times.raw()) == 2
