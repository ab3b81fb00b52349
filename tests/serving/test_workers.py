"""The command ``serve``: its processes, their end, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from recbole_raserec import Recommender
from recbole_raserec.cli import main
from tests.serving.conftest import Client

pytestmark = pytest.mark.parametrize("trained", ["attention"], indirect=True)
ADD = '{"history": ["i1"], "next_item": "i2", "owner": "%s"}'
MANY = json.dumps(
    {"histories": [[f"i{n % 60}"] * (n % 8 + 1) for n in range(250)], "explain": True}
)  # it takes a while


class Load:
    """Clients that add memories and ask for recommendations until nobody listens any more."""

    def __init__(self, port: int) -> None:
        self.port, self.stopping, self.enough = port, threading.Event(), threading.Semaphore(0)
        self.lost: list[str] = []
        self.done: Counter[str] = Counter()  # how often each owner's memory was acknowledged

    def client(self, number: int) -> None:
        keep = number % 2 == 0
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for n in range(10**6):
            owner = f"{number}-{n}"
            path, body = ("/remember", ADD % owner) if n % 2 else ("/recommend", MANY)
            was_sent = False
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                was_sent = not self.stopping.is_set()
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                if was_sent:
                    self.lost.append(f"{path} {error!r}")
                return
            self.done.update([owner] if n % 2 else [])
            self.enough.release()
            if not keep:
                connection.close()


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_sigterm_under_load_answers_what_was_accepted(serve_in_process, trained, tmp_path, workers):
    process = serve_in_process(f"--workers={workers}")
    load = Load(process.port)
    threads = [threading.Thread(target=load.client, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(120):
        assert load.enough.acquire(timeout=60)
    load.stopping.set()
    assert process.stop() == 0
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert load.lost == []
    recommender = Recommender.load(trained.path, store=tmp_path / "http.memory")
    assert len(load.done) > 10
    assert {owner: recommender.memory.forget(owner=owner) for owner in load.done} == dict.fromkeys(load.done, 1)
    recommender.memory.close()


@pytest.mark.slow
def test_two_workers_share_one_store_and_one_that_dies_is_replaced(serve_in_process):
    process = serve_in_process("--workers=2")
    service = Client(process.port)
    workers = {entry["process"] for entry in process.wait_for("Application startup complete.", count=2)}
    assert len(workers) == 2

    def see(number):
        ids = service.post("/remember", {"history": ["i1", "i2"], "next_item": f"new{number}", "owner": f"o{number}"})
        found = [service.ask("GET", f"/items?search=new{number}")[1]["items"] for _ in range(4)]
        assert all({"item": f"new{number}", "title": f"new{number}"} in items for items in found)
        return ids["ids"][0]

    with ThreadPoolExecutor(6) as clients:
        assert len(set(clients.map(see, range(24)))) == 24
    os.kill(workers.pop(), signal.SIGKILL)
    process.wait_for("a worker died and is replaced")
    process.wait_for("Application startup complete.")
    assert service.ask("DELETE", "/owners/o5") == (200, {"forgotten": 1})
    assert "raserec_requests_total" in service.ask("GET", "/metrics")[1]
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_the_service_in_order(serve_in_process, workers):
    process = serve_in_process(f"--workers={workers}")
    assert process.stop(signal.SIGINT) == 0
    assert "interrupted" not in "".join(process.lines)


@pytest.mark.slow
def test_a_worker_that_cannot_be_replaced_stops_no_other(serve_in_process, trained, tmp_path):
    model = tmp_path / "model.pth"
    shutil.copy(trained.path, model)
    process = serve_in_process("--workers=2", model_file=model)
    first, _ = process.wait_for("Application startup complete.", count=2)
    model.rename(tmp_path / "away.pth")
    os.kill(first["process"], signal.SIGKILL)
    process.wait_for("a worker could not start")
    assert Client(process.port).ask("GET", "/health/ready")[0] == 200
    (tmp_path / "away.pth").rename(model)
    process.wait_for("Application startup complete.")
    assert process.stop() == 0


def test_workers_end_with_their_parent(serve_in_process):
    process = serve_in_process("--workers=2")
    process.process.kill()
    process.process.wait()
    stopped = 0
    while stopped < 2:
        stopped += process.events.get(timeout=60)["event"].startswith("Finished server process")


def test_a_service_without_a_store_writes_no_file(serve_in_process, tmp_path):
    process = serve_in_process()
    Client(process.port).post("/recommend", {"histories": [["i1"]]})
    assert process.stop() == 0
    assert not (tmp_path / "http.memory").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model_file=nowhere.pth"], "nowhere.pth"),
        (["--port=99999"], "no such port"),
        (["--port=-1"], "not a whole number"),
        (["--workers=0"], "--workers=0"),
        (["--max_k=0"], "--max_k"),
        (["--max_body=lots"], "--max_body"),
        (["--token_file=nowhere"], "--token_file"),
        (["--token_file=short"], "16 letters"),
        (["--token=secret"], "unknown parameter"),
        (["--host=256.1.1.1"], "--host"),
        (["--workers=2", "--model_file=nowhere.pth"], "nowhere.pth"),
    ],
)
def test_a_wrong_option_is_one_line(trained, tmp_path, capfd, words, told):
    (tmp_path / "short").write_text("short\n")
    environment = dict(os.environ)
    given = (
        words if any(word.startswith("--model_file") for word in words) else [f"--model_file={trained.path}", *words]
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    try:
        assert main(["serve", "--port=0", *given] if "--port" not in "".join(words) else ["serve", *given]) == 2
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert told in lines[0]
    assert dict(os.environ) == environment


def test_a_port_in_use_and_a_missing_package_are_one_line(trained, capsys, monkeypatch):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        assert main(["serve", f"--model_file={trained.path}", f"--port={taken.getsockname()[1]}"]) == 2
    assert "cannot be used" in capsys.readouterr().err
    monkeypatch.setattr("recbole_raserec.cli.find_spec", lambda name: None)
    assert main(["serve", f"--model_file={trained.path}"]) == 2
    assert "pip install 'recbole-raserec[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize("accepted", [False, True])
def test_a_request_that_had_arrived_is_answered_at_the_stop(trained, tmp_path, accepted):
    """The server has no moment to read between the request and the stop."""
    from recbole_raserec.serving.settings import Settings
    from recbole_raserec.serving.workers import make_server

    async def stop_at_once() -> bytes:
        server = make_server(Settings(str(trained.path), str(tmp_path / "http.memory")))
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        await server.startup(sockets=[listening])
        with socket.create_connection(listening.getsockname(), timeout=60) as client:
            while accepted and not server.server_state.connections:
                await asyncio.sleep(0)
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await server.shutdown(sockets=[listening])
            return client.recv(10_000)

    answer = asyncio.run(stop_at_once()).lower()
    assert answer.startswith(b"http/1.1 200 ")
    assert b"connection: close" in answer
