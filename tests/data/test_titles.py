from __future__ import annotations

import builtins
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_raserec.data.convert import convert
from recbole_raserec.data.dataset import SequenceDataset
from recbole_raserec.data.titles import TITLE_HEADER, one_line, read_titles
from recbole_raserec.errors import ConfigError, DataError

EVENTS = pd.DataFrame({"user": ["u"] * 4 + ["v"] * 4, "item": list("abcdabcd"), "time": range(8)})


def run(items, events=EVENTS, dataset: str = "d", **options):
    return convert(events, "auto", dataset, "out", show_progress=False, items=items, **options)


def item_file(text: str | bytes, name: str = "d.item") -> None:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_titles_of_the_items_that_occur():
    items = table(item=list("xdbba"), title=["X", "D\t d\r\nd", "B", "second B", None])
    done = run(items)
    assert done.item_path == Path("out/d/d.item")
    assert done.item_path.read_text() == f"{TITLE_HEADER}a\t\nb\tB\nc\t\nd\tD d d\n"
    assert (done.titles, done.untitled) == (2, 2)
    assert read_titles(Path("out/d"), "d") == {"b": "B", "d": "D d d"}


def test_titles_of_an_earlier_conversion_stay_and_are_named():
    path = run(table(item=["a"], title=["A"])).item_path
    done = run(None)
    assert (done.item_path, done.stays, path.is_file()) == (None, path, True)
    assert f"{path} stays as it is" in " ".join(done.summary())


def test_items_that_k_core_removes_have_no_title():
    events = pd.concat([EVENTS, table(user=["u"], item=["rare"], time=[9])])
    done = run(table(item=["a", "rare"], title=["A", "R"]), events, k_core=2)
    assert (done.titles, done.untitled) == (1, 3)
    assert "rare" not in done.item_path.read_text()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt.csv", "jsonl", "parquet"])
def test_every_form_of_the_table(suffix):
    items, path = table(product=["a", "c"], name=['The "A", part 1', "C\nc"]), f"items.{suffix}"
    if suffix == "parquet":
        items.to_parquet(path)
    elif suffix == "jsonl":
        items.to_json(path, orient="records", lines=True)
    else:
        items.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ";")
    events = EVENTS.rename(columns={"item": "product"})
    run(path, events, item="product", title="name")
    assert read_titles(Path("out/d"), "d") == {"a": 'The "A", part 1', "c": "C c"}


def test_the_item_column_may_have_another_name():
    events = EVENTS.rename(columns={"item": "product"})
    assert run(table(item_id=["a"], title=["A"]), events, item="product").titles == 1


@pytest.mark.parametrize(
    ("items", "options", "says"),
    [
        (table(item=["a"], titel=["A"]), {"title": "title"}, "title='title': the items has no .*did you mean 'titel'"),
        (table(item=["a"], x=["A"]), {}, "there is no column for the title"),
        (table(x=["a"], title=["A"]), {}, "there is no column for the item"),
        (table(item=["A"], title=["A"]), {}, "none of the 4 items has a title in it"),
        (table(item=["a", None], title=["A", "B"]), {}, "the items row 1: the item is missing"),
        (table(item=["a", "b"], title=["A", ["B"]]), {}, "the items row 1: the title is \\['B'\\]"),
        ("nowhere.csv", {}, "items='nowhere.csv': there is no such file"),
    ],
)
def test_bad_tables_are_one_clear_error_and_leave_nothing(items, options, says):
    with pytest.raises(DataError, match=says):
        run(items, **options)
    assert not Path("out").exists()


def test_bad_lines_of_the_table_are_counted():
    Path("items.csv").write_text('item,title\na,A\nb\n"c,C\nd,"D"\n')
    with pytest.raises(DataError, match=r"items.csv line 3: it has 1 fields, not 2"):
        run("items.csv")
    done = run("items.csv", on_bad_line="skip")
    assert (done.skipped_items, done.skipped_lines, done.titles) == (2, 0, 2)


@pytest.mark.parametrize("failing", [1, 2])
def test_neither_file_changes_if_one_cannot_be_written(failing, monkeypatch):
    run(table(item=["a"], title=["old"]))
    before = {path.name: path.read_bytes() for path in Path("out/d").iterdir()}
    opened = []

    def full(path, mode, *buffer):
        opened.append(path)
        if len(opened) == failing:
            raise OSError(28, "No space left on device")
        return builtins.open(path, mode, *buffer)

    monkeypatch.setattr("recbole_raserec.runtime.files.open", full, raising=False)
    with pytest.raises(ConfigError, match="No space"):
        run(table(item=["a"], title=["new"]), EVENTS.assign(time=range(8, 0, -1)))
    assert {path.name: path.read_bytes() for path in Path("out/d").iterdir()} == before


def test_the_titles_stay_if_the_disk_is_full_at_the_end_of_the_interactions(monkeypatch):
    run(table(item=["a"], title=["old"]))
    before = {path.name: path.read_bytes() for path in Path("out/d").iterdir()}

    class Full(io.BufferedWriter):
        def flush(self):
            raise OSError(28, "No space left on device")

    def opened(path, mode, *buffer):
        return Full(io.FileIO(path, mode)) if ".inter" in str(path) else builtins.open(path, mode, *buffer)

    monkeypatch.setattr("recbole_raserec.runtime.files.open", opened, raising=False)
    with pytest.raises(ConfigError, match="No space"):
        run(table(item=["a"], title=["new"]), EVENTS.assign(time=range(8, 0, -1)))
    assert {path.name: path.read_bytes() for path in Path("out/d").iterdir()} == before


def test_recbole_reads_the_titles(make_config):
    source = Path("tiny.txt")
    titles = table(item=["3", "5"], title=['"Weird Al" Live', "N/A 5"])
    convert(source, "sequences", "tiny", "dataset", show_progress=False, items=titles)
    dataset = SequenceDataset(make_config(load_col={"inter": "*", "item": "*"}))
    dataset.build()
    feature = dataset.get_item_feature()
    row = feature["title"][dataset.token2id("item_id", "3")]
    words = [dataset.id2token("title", int(number)) for number in row if number]
    assert words == ["'Weird", "Al'", "Live"]
    without = SequenceDataset(make_config())
    assert (dataset.item_num, dataset.inter_num) == (without.item_num, without.inter_num)


@given(st.text(), st.text('abc"\t\n\r\0 ', max_size=9))
def test_titles_survive_the_file(first, second):
    titles = {name: one_line(text) for name, text in (("a", first), ("b", second))}
    item_file(TITLE_HEADER + "".join(f"{name}\t{title}\n" for name, title in titles.items()))
    assert read_titles(Path(), "d") == {name: title for name, title in titles.items() if title}
    frame = pd.read_csv("d.item", sep="\t", keep_default_na=False)
    assert list(frame["title:token_seq"]) == list(titles.values())


@pytest.mark.parametrize(
    ("header", "title"),
    [
        ("item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", "x"),
        ("item_id:token\tname:token\tTitle:token_seq\ttitle2:token", "y"),
        ("item_id:token\tyear:float\tbrand_name:token\tz:token", "y"),
        ("title_id:token\tyear:float\ta:token\tz:token", None),
    ],
)
def test_the_column_of_titles(header, title):
    item_file(f"{header}\r\n1\tx\ty\tz\r\n\r\n")
    assert read_titles(Path(), "d") == ({} if title is None else {"1": title})


def test_no_file_has_no_titles():
    assert read_titles(Path(), "d") == {}
    item_file("")
    assert read_titles(Path(), "d") == {}


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        (b"1\n", "line 2.*1 fields, not 2"),
        (b"1\tA\n2\tB\tC\n", "line 3.*3 fields, not 2"),
        (b"1\t\xff\n", "not a text file in UTF-8"),
        (b"1\t\0\n", "line 2.*binary"),
    ],
)
def test_damaged_files_are_clear_errors(rest, says):
    item_file(TITLE_HEADER.encode() + rest)
    with pytest.raises(DataError, match=says):
        read_titles(Path(), "d")
