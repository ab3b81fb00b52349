"""Does a service survive SIGKILL at any moment? ``python benchmarks/kills_http.py --model_file=FILE``.

  --kills=200    services that are killed
  --clients=4    that add and forget at once
  --seed=0       of the delays and the operations
  --output=FILE  benchmarks/results/kills_http.json

A child process serves over loopback. Clients add memories of owners, one to three at a time, and forget owners, each on
a connection of its own. The parent kills the service at a random moment and reads the store: every acknowledged memory
is there once, a request that was cut short is there whole or not at all, no forgotten owner is back, and SQLite finds
no fault. The next service goes on with the same store; after each 25 kills a new store begins, so kills also hit the
creation. The child is forked, because loading torch each time would take most of the time; it loads the model itself.
A kill is not a loss of power. A fault ends the run with an error and without a file.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

HERE = Path(__file__).parent
LONGEST, EACH = 0.4, 25  # seconds from the first answer to the kill; kills a store


def main(argv: list[str]) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # OpenMP's threads do not survive a fork
    from benchmarks import read_options
    from recbole_raserec.runtime.files import json_line

    defaults = {"model_file": "", "kills": "200", "clients": "4", "seed": "0"}
    options = read_options(argv, {**defaults, "output": str(HERE / "results" / "kills_http.json")})
    with tempfile.TemporaryDirectory() as folder:
        numbers = (int(options[name]) for name in ("kills", "clients", "seed"))
        result = kill_often(options["model_file"], Path(folder), *numbers)
    Path(options["output"]).write_text(json_line(result) + "\n", encoding="utf-8")
    print({name: value for name, value in result.items() if name != "log"})


def kill_often(model_file: str, folder: Path, kills: int, clients: int, seed: int) -> dict[str, Any]:
    """Kill ``kills`` services and check the store after each. AssertionError names the first fault."""
    from recbole_raserec.recommender import Recommender
    from recbole_raserec.runtime.machine import versions
    from recbole_raserec.serving import http as endpoints  # the children need not import it again

    assert endpoints
    items = Recommender.load(model_file, store=folder / "none").items[:20]
    rng, counts, log = np.random.default_rng(seed), Counter(), []
    for kill in range(kills):
        if kill % EACH == 0:
            store = folder / f"{kill}.memory"
            expected = Expected(store)
        pid, port = start(model_file, store)
        crowd = [Client(port, f"{kill}-{n}", items, int(rng.integers(2**31)), expected) for n in range(clients)]
        wait_until_served(port)
        for client in crowd:
            client.start()
        time.sleep(rng.uniform(0, LONGEST))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for client in crowd:
            client.join(60)
            assert not client.is_alive()
            assert client.fault is None, client.fault
            counts.update(client.counts)
        log.append([sum(sum(client.counts.values()) for client in crowd), expected.check(counts)])
    assert counts["acknowledged add"] > kills, "the clients wrote next to nothing"
    facts = {"kills": kills, "clients": clients, "seed": seed, **dict(sorted(counts.items()))}
    return {**facts, "versions": {**versions(), "sqlite": sqlite3.sqlite_version}, "log": log}


def start(model_file: str, store: Path) -> tuple[int, int]:
    """A service in a child process. Return its process id and port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listening.getsockname()[1]
    pid = os.fork()
    if pid:
        listening.close()
        return pid, port
    try:
        from recbole_raserec.serving.settings import Settings
        from recbole_raserec.serving.workers import work

        listening.setblocking(False)
        work(Settings(model_file, str(store)), listening, lambda: None)
    finally:
        os._exit(1)


def wait_until_served(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("GET", "/health/ready")
        assert connection.getresponse().status == 200


class Client(threading.Thread):
    """Adds and forgets its own owners until the service is gone, and tells ``expected`` what it asked and heard."""

    def __init__(self, port: int, name: str, items: list[str], seed: int, expected: Expected) -> None:
        super().__init__(daemon=True)
        self.port, self.owner_name, self.items, self.expected = port, name, items, expected
        self.rng, self.mine, self.counts = np.random.default_rng(seed), [], Counter()
        self.fault: str | None = None

    def run(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            try:
                for number in range(10**6):
                    self.one(connection, number)
            except (OSError, http.client.HTTPException):
                return  # killed
            except Exception as error:
                self.fault = repr(error)

    def one(self, connection: http.client.HTTPConnection, number: int) -> None:
        if self.mine and self.rng.random() < 0.3:
            owner = self.mine.pop(int(self.rng.integers(len(self.mine))))
            self.expected.begin("forget", owner)
            connection.request("DELETE", f"/owners/{quote(owner, safe='')}")
            kind = "forget"
        else:
            owner = f"{self.owner_name}/{number}/{self.rng.integers(1, 4)}"
            self.expected.begin("add", owner)
            memories = [
                {"history": self.history(), "next_item": self.items[n], "owner": owner} for n in range(size(owner))
            ]
            connection.request("POST", "/remember", json.dumps(memories), {"Content-Type": "application/json"})
            kind = "add"
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == 200, content
        if kind == "add":
            assert len(content["ids"]) == size(owner)
            self.mine.append(owner)
        else:
            assert content["forgotten"] == size(owner), (owner, content)
        self.expected.end(kind, owner)
        self.counts[f"acknowledged {kind}"] += 1

    def history(self) -> list[str]:
        return [self.items[n] for n in self.rng.integers(0, len(self.items), self.rng.integers(1, 8))]


def size(owner: str) -> int:
    """The number of an owner's memories, which its name tells."""
    return int(owner.rsplit("/", 1)[1])


class Expected:
    """What the store must hold of the clients' owners. Each client changes its own owners only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.present: set[str] = set()
        self.forgotten: set[str] = set()
        self.open: dict[str, str] = {}  # owner -> what was asked and not acknowledged
        self._lock = threading.Lock()

    def begin(self, kind: str, owner: str) -> None:
        with self._lock:
            self.open[owner] = kind

    def end(self, kind: str, owner: str) -> None:
        with self._lock:
            del self.open[owner]
            self._apply(kind, owner)

    def _apply(self, kind: str, owner: str) -> None:
        if kind == "add":
            self.present.add(owner)
        else:
            self.present.discard(owner)
            self.forgotten.add(owner)

    def check(self, counts: Counter[str]) -> int:
        """Compare with the store, and return how many owners it holds."""
        if not self.path.exists():
            assert not self.present, "the store is gone"
            return 0
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = connection.execute(
                "SELECT owners.token, COUNT(*), COUNT(DISTINCT memories.id) FROM memories "
                "JOIN owners ON owners.number = memories.owner WHERE memories.epoch IS NULL GROUP BY owners.token"
            ).fetchall()
            tokens = {token for (token,) in connection.execute("SELECT token FROM owners WHERE token IS NOT NULL")}
        found = {token: number for token, number, _ in rows if "/" in token}
        for owner, kind in self.open.items():
            done = (owner in found) == (kind == "add")
            counts[f"cut short, {'done' if done else 'not done'}"] += 1
            if done:
                self._apply(kind, owner)
        self.open = {}
        assert found.keys() == self.present, (found.keys() ^ self.present, "lost, or there without need")
        assert not self.forgotten & tokens, "a forgotten owner is back"
        for owner, number in found.items():
            assert number == size(owner), (owner, number, "there in part, or twice")
        return len(found)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main(sys.argv[1:])
