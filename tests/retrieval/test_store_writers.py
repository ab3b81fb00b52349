"""Several writers of one durable store: processes, forks, threads, and writers that are killed."""

from __future__ import annotations

import multiprocessing
import threading

import numpy as np
import pytest

from benchmarks.kills import kill_often
from recbole_raserec.retrieval.rows import Mark, Rows
from recbole_raserec.retrieval.store import MemoryStore
from tests.retrieval.stores import D, add, content, new_store

FORK = multiprocessing.get_context("fork")


def in_processes(work, count: int) -> None:
    """Call ``work(n)`` in processes that begin at once."""
    barrier = FORK.Barrier(count)

    def run(n: int) -> None:
        barrier.wait()
        work(n)

    children = [FORK.Process(target=run, args=(n,)) for n in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * count


def write_batches(store: MemoryStore, n: int) -> None:
    for batch in range(8):
        add(store, [f"{n}-{batch}"] * 5, seed=n)


def test_of_creators_at_once_one_wins_and_nobody_loses_memories(tmp_path):
    def create_and_add(n: int) -> None:
        store = MemoryStore(tmp_path / "m", D, "model")
        first = Rows(
            np.ones(1),
            np.ones(1, int),
            np.ones(1, int),
            np.ones(1, int),
            np.zeros(1),
            np.ones((1, D)),
            np.full(1, np.nan),
        )
        store.create(first, ["i"], [f"creator {n}"])
        write_batches(store, n)

    in_processes(create_and_add, 4)
    found = [row[1] for row in content(MemoryStore(tmp_path / "m", D, "model"))]
    assert found[0].startswith("creator") and sum(owner.startswith("creator") for owner in found) == 1
    assert sorted(found[1:]) == sorted(f"{n}-{batch}" for n in range(4) for batch in range(8) for _ in range(5))
    assert [path.name for path in tmp_path.glob("*new*")] == []


def test_processes_forked_from_an_open_store_lose_nothing(tmp_path):
    store = new_store(tmp_path / "m")
    add(store, ["parent"])
    in_processes(lambda n: write_batches(store, n), 2)
    add(store, ["parent"])
    assert len(content(store)) == 2 + 2 * 8 * 5


def test_no_connection_survives_a_fork(tmp_path):
    """SQLite's locks do not. A child with a copy of the connection could write to a log that the parent removes."""
    store = new_store(tmp_path / "m")
    add(store, ["u"])

    def look(n: int) -> None:
        assert store._database._connection is None
        store.changes(Mark())

    in_processes(look, 1)
    assert store._database._connection is None
    assert len(content(store)) == 1


def test_a_fork_waits_for_a_change_and_the_child_can_change(tmp_path):
    store, inside, go_on = new_store(tmp_path / "m"), threading.Event(), threading.Event()

    def change() -> None:
        with store.writing:
            inside.set()
            go_on.wait()
            add(store, ["thread"])

    thread = threading.Thread(target=change)
    thread.start()
    inside.wait()
    child = FORK.Process(target=add, args=(store, ["child"]))
    forking = threading.Thread(target=child.start)
    forking.start()
    go_on.set()
    for each in (thread, forking, child):
        each.join()
    assert child.exitcode == 0 and [row[1] for row in content(store)] == ["thread", "child"]


def test_threads_share_a_store(tmp_path):
    store = new_store(tmp_path / "m")
    threads = [threading.Thread(target=write_batches, args=(store, n)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [row[0] for row in content(store)]
    assert ids == list(range(1, 3 * 8 * 5 + 1))


def test_a_draft_of_a_killed_creator_is_replaced(tmp_path):
    draft = tmp_path / ".m.new"
    draft.write_bytes(b"half a store")
    store = new_store(tmp_path / "m")
    add(store, ["u"])
    assert not draft.exists() and len(content(store)) == 1


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path):
    assert kill_often(tmp_path, 20, seed=1)["acknowledged add"]
