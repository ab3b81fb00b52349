from __future__ import annotations

import datetime
import os
import shutil
import sqlite3
import threading

import numpy as np
import pandas as pd
import pytest

from recbole_raserec import ConfigError, DataError, Recommender
from recbole_raserec.data.histories import read_histories
from recbole_raserec.retrieval.names import PADDING
from tests.recommending.conftest import HISTORY, reopened


def test_what_is_added_is_used_at_once_and_after_reopening(trained, recommender):
    before = recommender.recommend([HISTORY], k=60)
    count = len(recommender.memory)
    ids = [recommender.memory.add(HISTORY, "i50", owner=f"new{n}") for n in range(12)]
    assert len(set(ids)) == 12
    after = recommender.recommend([HISTORY], k=60, explain=True)
    score = dict(zip(before["item"], before["score"]))["i50"]
    row = after[after["item"] == "i50"].iloc[0]
    assert row["score"] > score
    assert "people whose history looked like yours chose it next" in row["reason"]
    other = reopened(recommender, trained)
    pd.testing.assert_frame_equal(other.recommend([HISTORY], k=60, explain=True), after)
    assert len(other.memory) == count + 12


def test_a_store_stays_where_it_was_opened(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recommender = Recommender.load(trained.path, store="here.memory")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    recommender.memory.add(HISTORY, "i50", owner="ann")
    recommender.memory.close()
    assert Recommender.load(trained.path, store=tmp_path / "here.memory").memory.forget(owner="ann") == 1
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_new_item_is_recommended_where_it_was_chosen(recommender):
    with pytest.raises(DataError, match="unknown item"):
        recommender.recommend([HISTORY], items=["new"])
    for n in range(6):
        recommender.memory.add(HISTORY, "new", owner=f"n{n}")
    assert "new" in recommender.items
    near, far = (recommender.recommend([h], k=61) for h in (HISTORY, ["i40", "i41", "i42"]))
    rank = [dict(zip(f["item"], f["rank"]))["new"] for f in (near, far)]
    assert rank[0] <= 10  # of 61
    assert rank[0] < rank[1]
    assert recommender.title("new") == "new"
    assert recommender.recommend([[*HISTORY, "new"]], k=60)["item"].tolist().count("new") == 0
    assert recommender.recommend([["new"]])["cold"].all()
    assert recommender.memory.forget(item="new") == 6
    assert "new" not in recommender.recommend([HISTORY], k=60)["item"].tolist()


def test_as_of_is_the_memory_of_that_time(recommender):
    early = recommender.recommend([HISTORY], k=60)
    now = datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)
    recommender.memory.add(HISTORY, "i50", owner="a", time=now)
    recommender.memory.add(HISTORY, "i50", owner="b", time="2024-05-03")
    late = recommender.recommend([HISTORY], k=60)
    assert not late.equals(early)
    pd.testing.assert_frame_equal(recommender.as_of("2024-04-30").recommend([HISTORY], k=60), early)
    pd.testing.assert_frame_equal(recommender.as_of(now.timestamp() + 9e9).recommend([HISTORY], k=60), late)
    between = recommender.as_of("2024-05-02").explain(HISTORY, "i50").memories
    assert len(between[between["time"] > 1e9]) == 1


def test_times_of_training_are_those_of_the_data(trained, recommender):
    moment = recommender.as_of(-1.0)
    assert len(moment.view().snapshot) == 0
    frame = moment.recommend([HISTORY], explain=True)
    found = moment.explain(HISTORY, frame["item"][0])
    assert (len(found.memories), found.constant, found.own) == (0, 0, found.score)
    assert found.score == pytest.approx(frame["score"][0], abs=1e-5)
    assert frame["reason"][0] == found.sentence
    for latest in (1.0, 5.0, 3002.0, 71_004.0):
        kept = recommender.as_of(latest).view().snapshot
        times = [
            1000 * number + n
            for number, items in enumerate(trained.sequences.values())
            for n in range(1, len(items) - min(max(len(items) - 2, 0), 2))
        ]
        assert len(kept) == sum(time <= latest for time in times)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"history": "i1"}, "history"),
        ({"history": []}, "history"),
        ({"history": ["x9"]}, "history"),
        ({"history": [None]}, "history"),
        ({"history": ["i1"] * 1_000_000}, "history"),
        ({"next_item": None}, "next_item"),
        ({"next_item": ""}, "next_item"),
        ({"next_item": 1.5}, "next_item"),
        ({"owner": 2.5}, "owner=2.5"),
        ({"owner": ""}, "owner"),
        ({"time": "yesterday noon"}, "time"),
        ({"time": float("inf")}, "time"),
        ({"time": True}, "time"),
    ],
)
def test_bad_input_changes_nothing(recommender, wrong, field):
    count = len(recommender.memory)
    with pytest.raises((ConfigError, DataError)) as error:
        recommender.memory.add(**{"history": HISTORY, "next_item": "i9", **wrong})
    assert str(error.value).startswith(field)
    assert len(recommender.memory) == count
    assert not recommender._living._store.exists()


def test_all_or_none_are_added(recommender):
    count = len(recommender.memory)
    with pytest.raises(DataError, match="history 1"):
        recommender.memory.add_many([HISTORY, ["x9"], HISTORY], ["i1", "i2", "i3"])
    with pytest.raises(DataError, match="next_items"):
        recommender.memory.add_many([HISTORY], ["i1", "i2"])
    with pytest.raises(DataError, match=r"^owners: 2 of them for 1 histories"):
        recommender.memory.add_many([HISTORY], ["i1"], owners=["a", "b"])
    with pytest.raises(DataError, match="times"):
        recommender.memory.add_many([HISTORY], ["i1"], times=[1, 2])
    assert len(recommender.memory) == count


def test_the_store_of_another_model_is_refused(trained, recommender, tmp_path):
    import shutil

    import torch

    recommender.memory.add(HISTORY, "i9")
    state = torch.load(trained.path, weights_only=True)
    state["state_dict"]["backbone.item_embedding.weight"][3] += 1
    torch.save(state, tmp_path / "other.pth")
    shutil.copy(recommender._living._store.path, tmp_path / "other.memory")
    with pytest.raises((ConfigError, DataError), match="another backbone"):
        Recommender.load(tmp_path / "other.pth")


def test_keys_of_added_memories_are_the_encoders(recommender):
    recommender.memory.add(HISTORY, "i9", owner="zoe")
    view = recommender.view()
    row = np.array([view.snapshot.places - 1])
    request = recommender._request(read_histories([HISTORY]), "raise")
    assert np.array_equal(view.snapshot.keys(row), view.encode(request))
    assert view.snapshot.lengths(row).tolist() == [3]
    assert view.trained.users.tokens[int(view.snapshot.owners(row)[0])] == "zoe"


def test_items_that_came_later_are_no_items_of_an_earlier_moment(recommender):
    early = recommender.as_of(1e12)
    before = early.recommend([HISTORY], k=57)
    recommender.memory.add(HISTORY, "later", owner="anna", time=2e12)
    pd.testing.assert_frame_equal(early.recommend([[*HISTORY, "later"]], k=57, exclude=["later"]), before)
    assert early.recommend([HISTORY], items=["later"]).empty
    assert "later" not in early.items and "later" in recommender.items
    assert len(early.items) == len(early.item_vectors()) == len(recommender.items) - 1
    for wrong in (lambda: early.explain(HISTORY, "later"), lambda: early.similar_items("later")):
        with pytest.raises(DataError, match="an unknown item"):
            wrong()


def test_answers_do_not_wait_for_an_addition_that_waits_for_another_process(recommender, monkeypatch):
    recommender.memory.add(HISTORY, "i9")
    monkeypatch.setattr("recbole_raserec.retrieval.database.WAIT", 30)
    recommender.memory.close()
    other = sqlite3.connect(recommender._living._store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    addition = threading.Thread(target=recommender.memory.add, args=(HISTORY, "i8"))
    addition.start()
    while addition.is_alive() and recommender._living._store.writing.acquire(blocking=False):  # it has not begun
        recommender._living._store.writing.release()
    assert len(recommender.recommend([HISTORY], k=3)) == 3
    assert addition.is_alive()
    other.execute("ROLLBACK")
    other.close()
    addition.join()
    assert len(recommender.recommend([HISTORY], k=3)) == 3


def test_a_store_that_was_restored_from_a_copy_is_read_afresh(recommender, tmp_path):
    path = recommender._living._store.path
    recommender.memory.add(HISTORY, "i9", owner="a")
    recommender.memory.close()
    shutil.copy(path, tmp_path / "copy")
    count = len(recommender.memory)
    recommender.memory.add_many([HISTORY] * 3, ["i1", "i2", "new"], ["b"] * 3)
    recommender.memory.forget(owner="a")
    recommender.memory.close()
    os.replace(tmp_path / "copy", path)
    assert len(recommender.memory.refresh()) == count
    recommender.memory.add(HISTORY, "i7", owner="c")
    assert recommender.memory.forget(owner="a") == 1
    assert len(recommender.memory) == count


@pytest.mark.parametrize("name", ["  ", PADDING])
def test_a_new_item_has_a_name_that_shows(recommender, name):
    with pytest.raises(DataError, match=r"^next_item=.*no name of a new item"):
        recommender.memory.add(HISTORY, name)
    recommender.memory.add(HISTORY, " new ")
    assert " new " in recommender.items, "tokens are kept as they are"
