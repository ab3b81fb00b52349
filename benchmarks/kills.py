"""Does a store survive SIGKILL at any moment? ``python benchmarks/kills.py``.

  --kills=500    processes that are killed
  --seed=0       of the delays and the operations
  --output=FILE  benchmarks/results/kills.json

A child process adds batches of memories to a store, forgets owners and compacts. It names each operation on a pipe
before it begins, and acknowledges it after it has returned. The parent kills the child at a random moment, reads the
store and checks it: every acknowledged operation is there once, the one that was cut short is there whole or not at
all, no forgotten owner is back, and SQLite finds no fault. In every third round two children write at once. After each
50 kills a new store begins, so kills also hit the creation. A kill is not a loss of power: the system stays up. A
fault ends the run with an error and without a file. ``log`` has a pair for each round: acknowledged operations, and
memories found.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
D, INITIAL, EACH, LONGEST = 16, 30, 50, 0.25  # width, first memories, kills a store, seconds before a kill
MODEL = "kills"


def main(argv: list[str]) -> None:
    from benchmarks import read_options
    from recbole_raserec.runtime.files import json_line

    defaults = {"kills": "500", "seed": "0", "output": str(HERE / "results" / "kills.json")}
    options = read_options(argv, defaults)
    with tempfile.TemporaryDirectory() as folder:
        result = kill_often(Path(folder), int(options["kills"]), int(options["seed"]))
    Path(options["output"]).write_text(json_line(result) + "\n", encoding="utf-8")
    print({name: value for name, value in result.items() if name != "log"})


def kill_often(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill ``kills`` writers and check the store after each round. AssertionError names the first fault."""
    from recbole_raserec.retrieval import living  # noqa: F401  the children need not import it again
    from recbole_raserec.runtime.machine import versions

    rng, counts, log, store, killed = np.random.default_rng(seed), Counter(), [], None, 0
    while killed < kills:
        if store is None or killed - store.first >= EACH:
            store = Expected(folder / f"{killed}.memory", killed)
            counts["stores"] += 1
        writers = 2 if len(log) % 3 == 2 else 1
        children = [start(store.path, f"{killed + n}", int(rng.integers(2**31))) for n in range(writers)]
        said = []
        for pid, pipe in children:
            time.sleep(rng.uniform(0, LONGEST / writers))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            with os.fdopen(pipe, "rb") as file:
                said.append(file.read().decode().split("\n")[:-1])
        killed += writers
        counts["rounds of two writers"] += writers == 2
        done = sum(store.follow(lines, counts) for lines in said)
        log.append([done, store.check(counts)])
    assert counts["acknowledged add"] > kills, "the writers wrote next to nothing"
    facts = {"kills": killed, "seed": seed, **dict(sorted(counts.items()))}
    return {**facts, "versions": {**versions(), "sqlite": sqlite3.sqlite_version}, "log": log}


def start(path: Path, name: str, seed: int) -> tuple[int, int]:
    """A child that writes until it is killed. Return its process id and the pipe on which it tells what it does."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        write(path, name, np.random.default_rng(seed), lambda text: os.write(writing, f"{text}\n".encode()))
    except BaseException as error:
        os.write(writing, f"failed {error!r}\n".encode())
    finally:
        os._exit(1)


def write(path: Path, name: str, rng: np.random.Generator, say: Any) -> None:
    memory, mine = open_memory(path), []
    for number in range(10**6):
        chance = rng.random()
        if mine and chance < 0.3:
            operation, owner = "forget", mine.pop(int(rng.integers(len(mine))))
        elif chance < 0.32:
            operation, owner = "compact", "-"
        else:
            operation, owner = "add", f"{name}-{number}-{rng.integers(1, 20)}"
        say(f"begin {operation} {owner}")
        if operation == "forget":
            memory.forget(owner=owner)
        elif operation == "compact":
            memory.compact()
        else:
            keys, targets, lengths, times = batch(owner)
            memory.add(keys, targets, [owner] * len(keys), lengths, times)
            mine.append(owner)
        say(f"end {operation} {owner}")


def batch(owner: str) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """The memories of an owner, which its name determines. Its last number says how many they are."""
    first, second, size = (int(part) for part in owner.split("-"))
    rng = np.random.default_rng([first, second])
    keys = rng.normal(size=(size, D)).astype(np.float32)
    return keys, [f"item {n}" for n in rng.integers(0, 50, size)], rng.integers(1, 90, size), rng.random(size)


def open_memory(path: Path) -> Any:
    """The living memory at ``path``, with the same initial memories each time."""
    from recbole_raserec.retrieval.living import LivingMemory
    from recbole_raserec.retrieval.memory import MemoryBank
    from recbole_raserec.retrieval.names import Names

    keys, targets, lengths, times = batch(f"0-0-{INITIAL}")
    items = Names(["[PAD]", *(f"item {n}" for n in range(50))])
    columns = [items.find(target) for target in targets], np.zeros(INITIAL, np.int64), lengths, times
    return LivingMemory(MemoryBank(keys, *map(np.asarray, columns)), items, Names(), path, MODEL)


class Expected:
    """What a store must hold."""

    def __init__(self, path: Path, first: int) -> None:
        self.path, self.first, self.must_exist = path, first, False
        self.owners: set[str] = set()
        self.forgotten: set[str] = set()
        self.open: list[tuple[str, str]] = []  # operations that were begun and not acknowledged

    def follow(self, lines: list[str], counts: Counter[str]) -> int:
        """Take in what a child said, and return how many operations it acknowledged."""
        for line in lines:
            state, operation, owner = line.split(" ", 2)
            assert state in ("begin", "end"), line
            if state == "end":
                counts[f"acknowledged {operation}"] += 1
                self.must_exist = True
                self._apply(operation, owner)
        if lines and lines[-1].startswith("begin"):
            _, operation, owner = lines[-1].split()
            self.open.append((operation, owner))
        return sum(line.startswith("end") for line in lines)

    def _apply(self, operation: str, owner: str) -> None:
        if operation == "add":
            self.owners.add(owner)
        elif operation == "forget":
            self.owners.discard(owner)
            self.forgotten.add(owner)

    def check(self, counts: Counter[str]) -> int:
        """Compare with the store, and return how many memories it holds."""
        from recbole_raserec.retrieval.store import Mark, MemoryStore

        if not self.path.exists():
            assert not self.must_exist, "the store is gone"
            return 0
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with closing(MemoryStore(self.path, D, MODEL)) as store:
            found = store.changes(Mark())
        rows = found.rows
        names, items = (
            np.array(["", *(tokens.get(n, "") for n in range(1, last + 1))])  # some were forgotten
            for tokens, last in ((found.owners, found.mark.owner), (found.items, found.mark.item))
        )
        present = set(names[rows.owners]) - {""}
        for operation, owner in self.open:
            there = (owner in present) == (operation == "add")
            counts[f"cut short, {'done' if there or operation == 'compact' else 'not done'}"] += operation != "compact"
            if there:
                self._apply(operation, owner)
        self.open = []
        assert present == self.owners, (present ^ self.owners, "lost, or there without need")
        assert not self.forgotten & set(found.owners.values()), "a forgotten owner is back"
        assert len(np.unique(rows.ids)) == len(rows)
        for owner in ("", *present):
            mine = names[rows.owners] == owner
            keys, targets, lengths, times = batch(owner or f"0-0-{INITIAL}")
            assert np.array_equal(rows.keys[mine], keys), owner
            assert items[rows.targets[mine]].tolist() == targets, owner
            assert np.array_equal(rows.lengths[mine], lengths) and np.array_equal(rows.times[mine], times), owner
        return len(rows)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main(sys.argv[1:])
