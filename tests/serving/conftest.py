"""A service on a real socket of the loopback, in a thread or in a process of its own, and a client for it."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

TOKEN = "a-token-for-tests-of-32-letters-"


@dataclass
class Client:
    """Sends one request a connection."""

    port: int
    token: str = ""
    server: Any = None  # of a service in a thread
    thread: Any = None

    def stop(self) -> None:
        """Stop the service in a thread, so that all of its log is written."""
        self.server.should_exit = True
        self.thread.join(60)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the answer; a body that is no bytes is sent as JSON."""
        status, answer, _ = self.whole(method, path, body, **headers)
        return status, answer

    def whole(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.headers["content-type"] == "application/json"
            return answer.status, json.loads(text) if is_json else text.decode(), answer.headers

    def post(self, path: str, body: Any) -> Any:
        """The answer to a request that succeeds."""
        status, answer = self.ask("POST", path, body)
        assert status == 200, answer
        return answer

    def raw(self, content: bytes) -> bytes:
        """What comes back for these bytes until the service closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(content)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts)


@contextmanager
def services(model_file: Any, store: Path) -> Iterator[Callable[..., Client]]:
    """Starts services of a trained model, and stops them at the end."""
    from recbole_raserec.serving.settings import Limits, Settings
    from recbole_raserec.serving.workers import make_server

    running = []

    def start(limits: dict[str, int] | None = None, **more: Any) -> Client:
        given = {"model_file": str(more.pop("model_file", model_file)), "store": str(store), **more}
        server = make_server(Settings(limits=Limits(**(limits or {})), **given))
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        port, started = listening.getsockname()[1], threading.Event()
        server.when_started = started.set
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        running.append((server, thread))
        assert started.wait(60)
        return Client(port, more.get("token", ""), server, thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_raserec.serving.protocol._GRACE", 0.0)  # the stop is tested in processes
        yield start
        for server, _ in running:
            server.should_exit = True
        for _, thread in running:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def serve_in_thread(trained, tmp_path) -> Iterator[Callable[..., Client]]:
    with services(trained.path, tmp_path / "http.memory") as start:
        yield start


@pytest.fixture
def service(serve_in_thread) -> Client:
    return serve_in_thread()


class Process:
    """A service in a process of its own, started by the command."""

    def __init__(self, model_file: Path, store: Path, *words: str, env: dict[str, str] | None = None) -> None:
        script = "from recbole_raserec.cli import script; script()"
        options = [f"--model_file={model_file}", f"--store={store}", "--port=0", *words]
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, "serve", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
        )  # fmt: skip
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.lines: list[str] = []
        threading.Thread(target=self._read_log, daemon=True).start()
        first = self.process.stdout.readline()
        assert "http://" in first, (first, self.lines, self.process.wait(60))
        self.port = int(first.split("/")[2].split(":")[1])

    def _read_log(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            self.events.put(json.loads(line))

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The next ``count`` entries of the log with this event."""
        found = []
        while len(found) < count:
            entry = self.events.get(timeout=120)
            found += [entry] if entry["event"] == event else []
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def serve_in_process(trained, tmp_path) -> Iterator[Callable[..., Process]]:
    running = []

    def start(*words: str, model_file: Any = None, **more: Any) -> Process:
        running.append(Process(model_file or trained.path, tmp_path / "http.memory", *words, **more))
        return running[-1]

    yield start
    for each in running:
        each.process.kill()
        each.process.wait()
