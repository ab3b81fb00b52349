"""Micro-batching with a recommender that waits until it is told to go on, and records its calls."""

from __future__ import annotations

import queue
import threading

import numpy as np
import pandas as pd
import pytest

from recbole_raserec.data.histories import read_histories
from recbole_raserec.errors import DataError
from recbole_raserec.serving import batching
from recbole_raserec.serving.batching import Batcher, Options
from recbole_raserec.serving.problems import Refusal


class Slow:
    """Recommends to each history its own items."""

    def __init__(self) -> None:
        self.calls: queue.Queue = queue.Queue()
        self.go: queue.Queue = queue.Queue()

    def recommend(self, given, **options):
        self.calls.put((given.items, options))
        self.go.get(timeout=60)
        for row, items in enumerate(given.items):
            if "bad" in items:
                raise DataError(f"history {row}", "bad", "an unknown item", "leave it out")
            if "worse" in items:
                raise KeyError("worse")
        rows = [(row, item) for row, items in enumerate(given.items) for item in items]
        user, item = (np.array(column) for column in zip(*rows)) if rows else ([], [])
        return pd.DataFrame({"user": user, "item": item, "score": 1.0, "cold": False})


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def make(slow):
    made = []

    def make(**more):
        made.append(Batcher(lambda: slow, **more))
        return made[-1]

    yield make
    for _ in range(100):
        slow.go.put(None)
    for batcher in made:
        batcher.close()


def items(future):
    return [answer["items"] for answer in future.result(60)]


def submit(batcher, *histories, **options):
    return batcher.submit(read_histories([list(history) for history in histories]), Options(**options))


def test_what_waits_is_answered_in_one_call(make, slow):
    batcher = make()
    first = submit(batcher, "a")
    assert slow.calls.get(timeout=60)[0] == [["a"]]  # at once: nothing else was there
    others = [submit(batcher, "b", "cd"), submit(batcher), submit(batcher, "e", "")]
    assert batcher.waiting == 4
    slow.go.put(None)
    slow.go.put(None)
    assert items(first) == [["a"]]
    assert [items(other) for other in others] == [[["b"], ["c", "d"]], [], [["e"], []]]
    assert slow.calls.get(timeout=60)[0] == [["b"], ["c", "d"], ["e"], []]
    assert batcher.waiting == 0


def test_after_a_call_for_several_the_next_waits_for_as_many(make, slow, monkeypatch):
    monkeypatch.setattr(batching, "_PAUSE", 1000.0)  # so that only a request, or the end, ends the waiting
    monkeypatch.setattr(batching, "_PATIENCE", 1000.0)
    batcher = make()
    submit(batcher, "a")
    assert slow.calls.get(timeout=60)[0] == [["a"]]  # alone: at once
    several = submit(batcher, "b", "c", "d")
    for _ in range(2):
        slow.go.put(None)
    assert slow.calls.get(timeout=60)[0] == [["b"], ["c"], ["d"]]
    assert items(several) == [["b"], ["c"], ["d"]]  # the thread is free
    waits, wait_for = threading.Event(), batcher._changed.wait_for

    def told(predicate, timeout=None):
        if timeout is not None:
            waits.set()
        return wait_for(predicate, timeout)

    monkeypatch.setattr(batcher._changed, "wait_for", told)
    futures = [submit(batcher, "e")]
    assert waits.wait(60)
    assert slow.calls.empty()
    futures += [submit(batcher, letter) for letter in "fg"]
    slow.go.put(None)
    assert slow.calls.get(timeout=60)[0] == [["e"], ["f"], ["g"]]
    assert [items(future) for future in futures] == [[["e"]], [["f"]], [["g"]]]
    last = submit(batcher, "h")
    slow.go.put(None)
    batcher.close()  # ends the waiting, and what waits is answered
    assert items(last) == [["h"]]


def test_a_call_waits_no_longer_than_requests_keep_coming(make, slow):
    batcher = make()
    submit(batcher, "a", "b", "c")
    slow.calls.get(timeout=60)
    for _ in range(2):
        slow.go.put(None)
    assert items(submit(batcher, "d")) == [["d"]]  # the others never come


def test_only_the_same_options_share_a_call(make, slow):
    batcher = make()
    submit(batcher, "a")
    slow.calls.get(timeout=60)
    futures = [submit(batcher, "b", k=3), submit(batcher, "c", k=4), submit(batcher, "d", k=3)]
    for _ in range(3):
        slow.go.put(None)
    assert [items(future) for future in futures] == [[["b"]], [["c"]], [["d"]]]
    calls = [slow.calls.get(timeout=60) for _ in range(2)]
    assert [(call[0], call[1]["k"]) for call in calls] == [([["b"], ["d"]], 3), ([["c"]], 4)]


def test_without_batching_each_has_its_own_call(make, slow):
    batcher = make(together=False)
    futures = [submit(batcher, letter) for letter in "abc"]
    for _ in range(3):
        slow.go.put(None)
    assert [items(future) for future in futures] == [[["a"]], [["b"]], [["c"]]]
    assert slow.calls.qsize() == 3


def test_a_wrong_history_concerns_its_own_request(make, slow):
    batcher = make()
    submit(batcher, "a")
    slow.calls.get(timeout=60)
    good, bad = submit(batcher, "b"), batcher.submit(read_histories([["c"], ["bad"]]), Options())
    for _ in range(4):
        slow.go.put(None)
    assert items(good) == [["b"]]
    assert bad.exception(60).field == "history 1"


def test_the_thread_survives_any_error(make, slow):
    batcher = make()
    worse = batcher.submit(read_histories([["worse"]]), Options())
    slow.go.put(None)
    assert isinstance(worse.exception(60), KeyError)
    slow.go.put(None)
    assert items(submit(batcher, "b")) == [["b"]]


def test_a_full_queue_refuses_and_a_large_request_alone_does_not(make, slow):
    batcher = make(max_waiting=2)
    submit(batcher, "a")
    slow.calls.get(timeout=60)
    large = submit(batcher, "b", "c", "d")
    with pytest.raises(Refusal) as refused:
        submit(batcher, "e")
    assert refused.value.status == 503
    for _ in range(2):
        slow.go.put(None)
    assert items(large) == [["b"], ["c"], ["d"]]


def test_a_cancelled_request_is_left_out(make, slow):
    batcher = make()
    submit(batcher, "a")
    slow.calls.get(timeout=60)
    gone, kept = submit(batcher, "b"), submit(batcher, "c")
    assert gone.cancel()
    for _ in range(2):
        slow.go.put(None)
    assert items(kept) == [["c"]]
    assert slow.calls.get(timeout=60)[0] == [["c"]]


def test_the_end_answers_what_waits(make, slow):
    batcher = make()
    futures = [submit(batcher, "a"), submit(batcher, "b")]
    for _ in range(2):
        slow.go.put(None)
    batcher.close()
    assert [items(future) for future in futures] == [[["a"]], [["b"]]]
    with pytest.raises(Refusal):
        submit(batcher, "c")
