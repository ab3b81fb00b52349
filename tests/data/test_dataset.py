from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import recbole.config
import torch
from recbole.data.dataset import SequentialDataset
from recbole.model.sequential_recommender import SASRec

from recbole_raserec import DataError, SequenceDataset
from recbole_raserec.data.prefix_feat import PREFIX_LENGTH


def test_parts_hold_what_recboles_own_data_set_holds(make_config, monkeypatch):
    config = make_config()
    ours = SequenceDataset(config).build()
    monkeypatch.setattr("sys.argv", ["test"])
    stock_config = recbole.config.Config(
        SASRec,
        "tiny",
        config_dict={
            "data_path": str(Path(config["data_path"]).parent),
            "MAX_ITEM_LIST_LENGTH": 8,
            "train_neg_sample_args": None,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        },
    )
    stock = SequentialDataset(stock_config).build()
    for part, expected in zip(ours, stock):
        batch, rows = part[torch.arange(len(part))], expected.inter_feat
        assert len(part) == len(expected)
        for field in rows.interaction:
            assert torch.equal(batch[field], rows[field]), field
        assert torch.equal(batch["item_length"], batch[PREFIX_LENGTH].clamp(max=8))


def test_rows_of_a_part_by_any_index(make_config):
    part = SequenceDataset(make_config()).build()[0]
    mask = torch.arange(len(part)) % 3 == 0
    chosen = mask.nonzero()[:, 0]
    for index in (chosen, chosen.tolist(), mask, slice(None, None, 3)):
        assert torch.equal(part[index]["item_id"], part["item_id"][chosen])
        assert torch.equal(part[index][PREFIX_LENGTH], part[torch.arange(len(part))][PREFIX_LENGTH][chosen])
    assert part[2]["item_id"].tolist() == part["item_id"][2:3].tolist()
    assert part[-1]["item_id"].tolist() == part["item_id"][-1:].tolist()


def test_a_loaded_table_of_items_is_part_of_the_datas_identity(make_config, tiny_data):
    """RecBole drops interactions of items that it lacks."""
    both = {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}}
    table = tiny_data / "tiny" / "tiny.item"
    alone, seen = SequenceDataset(make_config()).sha256, []
    for items in (range(1, 26), range(2, 26)):
        table.write_text("\n".join(["item_id:token", *map(str, items)]) + "\n")
        seen.append(SequenceDataset(make_config(**both)).sha256)
        assert SequenceDataset(make_config()).sha256 == alone
    assert len({alone, *seen}) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\x00\x89PNG\x00", "binary|not a text"),
        (b"\x89PNG\xff", "not a text file"),
        (b"user_id:token\titem_id:token\titem_id:token\ttimestamp:float\n1\t2\t2\t3\n", "twice"),
        (b"user_id\titem_id\n1\t2\n", "field:type"),
        (b"user_id:float\titem_id:token\ttimestamp:float\n1\t2\t3\n", "user_id:float.*must be token"),
        (b"user_id:token\titem_id:token_seq\ttimestamp:float\n1\t2\t3\n", "item_id:token_seq.*must be token"),
        (b"user_id:token\titem_id:token\ttimestamp:token\n1\t2\t3\n", "timestamp:token.*must be float"),
        (b"user_id:token\titem_id:token\ttimestamp:float\n", "no interaction"),
        (b"user_id:token\titem_id:token\ttimestamp:float\n1\t2\tnan\n", "line 2.*missing"),
        (b"user_id:token\titem_id:token\ttimestamp:float\n1\t2\tx\n", "could not convert|parse"),
        (b"user_id:token\titem_id:token\ttimestamp:float\n1\t\t4\n", "line 2.*missing"),
        (b"user_id:token\titem_id:token\ttimestamp:float\n1\t2\t4\n1\t2\t5\n1\t3\t6\n1\t4\t7\n", "only one user"),
        (b"user_id:token\titem_id:token\n1\t2\n", "not loaded"),
    ],
)
def test_bad_atomic_files_are_one_clear_error(make_config, tiny_data, content, says):
    (tiny_data / "tiny" / "tiny.inter").write_bytes(content)
    with pytest.raises(DataError, match=says):
        SequenceDataset(make_config()).build()


def test_a_filter_that_leaves_nothing_is_one_clear_error(make_config):
    with pytest.raises(DataError, match=r"user_inter_num_interval=\[99,inf\)"):
        SequenceDataset(make_config(user_inter_num_interval="[99,inf)")).build()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"additional_feat_suffix": ["x"]}, "dataset='tiny': RecBole cannot load it .*tiny.x.* not found"),
        ({"threshold": {"timestamp": 3}}, "threshold={'timestamp': 3}: RecBole makes labels of the times"),
        ({"val_interval": {"timestamp": [1, 2, 3]}}, r"val_interval of timestamp=\[1, 2, 3\]: .* is no interval"),
        ({"val_interval": {"timestamp": ">3"}}, "val_interval of timestamp='>3': .* is no interval"),
        ({"val_interval": {"timestamp": None}}, "val_interval of timestamp: .* is no interval"),
        ({"val_interval": {"timestamp": [3]}}, "the field holds numbers, and this is no interval"),
        ({"val_interval": {"item_id": "[3,inf)"}}, "val_interval of item_id='.3,inf.': .* no list of them"),
        ({"val_interval": {"rating": "[3,inf)"}}, "cannot be filtered .*rating"),
    ],
)
def test_what_recbole_refuses_is_one_clear_error(make_config, given, says):
    with pytest.raises(DataError, match=says):
        SequenceDataset(make_config(**given))


def test_filters_by_values_keep_what_they_say(make_config):
    def kept(**filters):
        dataset = SequenceDataset(make_config(val_interval=filters))
        dataset.build()
        return dataset.inter_feat

    times = kept(timestamp=[3, 12])["timestamp"]
    assert set(times.tolist()) == set(range(3, 13))
    assert len(kept(item_id=["1", "2", "3", "4", "5", "6"])["item_id"].unique()) == 6


def test_an_unknown_data_set_names_the_nearest(make_config, tiny_data):
    (tiny_data / "tiny").rename(tiny_data / "tyny")
    with pytest.raises(DataError, match="tyny"):
        SequenceDataset(make_config())


def test_no_network_says_what_to_run(make_config, monkeypatch, tiny_data):
    from recbole_raserec import Config

    def offline(*_):
        raise OSError("no network")

    monkeypatch.setattr("recbole_raserec.data.dataset.download_url", offline)
    config = Config("RaSeRec", "amazon-beauty", config_dict={"data_path": str(tiny_data)})
    with pytest.raises(DataError, match=r"recbole-raserec convert .*--dataset=amazon-beauty"):
        SequenceDataset(config)
    assert [path.name for path in tiny_data.iterdir()] == ["tiny"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_download_is_there_as_a_whole_or_not_at_all(make_config, monkeypatch, tiny_data, whole):
    from recbole_raserec import Config

    rows = (tiny_data / "tiny" / "tiny.inter").read_bytes()

    def fetched(url, folder):
        path = Path(folder) / "Amazon_Beauty.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("Amazon_Beauty.inter", rows)
        path.write_bytes(path.read_bytes()[: None if whole else 40])
        return str(path)

    monkeypatch.setattr("recbole_raserec.data.dataset.download_url", fetched)
    config = Config("RaSeRec", "amazon-beauty", config_dict={"data_path": str(tiny_data)})
    if whole:
        assert SequenceDataset(config).inter_num > 600  # a few users are too short for this data set's filter
        assert [path.name for path in (tiny_data / "amazon-beauty").iterdir()] == ["amazon-beauty.inter"]
        assert (tiny_data / "amazon-beauty" / "amazon-beauty.inter").read_bytes() == rows
    else:
        with pytest.raises(DataError, match="the download failed"):
            SequenceDataset(config)
        assert [path.name for path in tiny_data.iterdir()] == ["tiny"]


def write(tiny_data, lines, more=""):
    header = f"user_id:token\titem_id:token\ttimestamp:float{more}"
    (tiny_data / "tiny" / "tiny.inter").write_text("\n".join([header, *lines]) + "\n")


@pytest.mark.parametrize("keep", ["first", "last"])
def test_interactions_of_the_same_time_keep_their_order_when_repeated_ones_are_removed(make_config, tiny_data, keep):
    lines = [f"{user}\t{item}\t{day}" for user in range(60) for day in range(2) for item in range(6 * day, 6 * day + 6)]
    write(tiny_data, lines)
    items = []
    for removed in (None, keep):
        data = SequenceDataset(make_config(rm_dup_inter=removed))
        data.build()
        items.append([data.id2token("item_id", row).tolist() for row in data.sequences.items.reshape(60, 12)])
    assert items[0] == items[1]


def test_the_kept_one_of_repeated_interactions(make_config, tiny_data):
    for keep, expected in (("first", ["a", "b", "c", "d"]), ("last", ["b", "a", "c", "d"])):
        write(tiny_data, [f"{user}\t{item}\t1" for user in "xyz" for item in "abacd"])
        data = SequenceDataset(make_config(rm_dup_inter=keep))
        data.build()
        assert [data.id2token("item_id", row).tolist() for row in data.sequences.items.reshape(3, 4)] == [expected] * 3


def test_a_quotation_mark_does_not_swallow_lines(make_config, tiny_data):
    lines = [f"{user}\t{item}\t{item}" for user in range(1, 5) for item in range(1, 9)]
    write(tiny_data, [*lines[:4], '1\t"a\t5"\t5', *lines[5:]])  # within one line, as RecBole reads it
    assert SequenceDataset(make_config()).inter_num == 32
    write(tiny_data, [*lines[:4], '1\t"5\t5', *lines[5:20], '3\t5"\t5', *lines[21:]])
    with pytest.raises(DataError, match=r"tiny\.inter: 32 lines give 16 rows: a token begins with"):
        SequenceDataset(make_config())


def test_a_quotation_mark_in_a_column_that_is_not_loaded_does_not_swallow_lines_either(make_config, tiny_data):
    lines = [f"{user}\t{item}\t{item}\tgood" for user in range(1, 5) for item in range(1, 9)]
    lines[3], lines[20] = '1\t4\t4\t"best ever', '3\t5\t5\tbad"'
    write(tiny_data, lines, "\treview:token")
    with pytest.raises(DataError, match="32 lines give 15 rows"):
        SequenceDataset(make_config())


def test_blank_lines_count_in_the_number_of_a_wrong_line(make_config, tiny_data):
    lines = [f"{user}\t{item}\t{item}" for user in range(1, 5) for item in range(1, 9)]
    write(tiny_data, ["", *lines[:4], "  ", "", "1\t\t5", *lines[5:]])
    with pytest.raises(DataError, match=r"tiny\.inter line 9='item_id': missing"):
        SequenceDataset(make_config())
