"""How fast is the service? ``python benchmarks/serving_http.py --model_file=FILE``.

  --clients=1,8,64   that ask at once, each on a connection of its own
  --seconds=20       of each measurement, after two to warm up
  --soak=10          minutes under a mixed load, with the memory of the process over time; 0 leaves it out
  --output=FILE      benchmarks/results/serving_http.json

The service is a process of its own, and so are its clients, on the same machine over loopback: they share its cores. A
client asks for ten items of one random history, and asks again when it has the answer. Each number of clients is
measured with and without micro-batching. In the soak eight clients ask, and every twentieth request adds a memory, and
the next one forgets its owner. The figures are milliseconds from the request to the whole answer, requests a second,
and MiB of resident memory.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
WARM, HISTORIES, EVERY = 2.0, 2000, 5.0  # seconds; number of histories; seconds between two looks at the memory


def main(argv: list[str]) -> None:
    from benchmarks import read_options
    from recbole_raserec.runtime.files import json_line
    from recbole_raserec.runtime.machine import machine, versions

    defaults = {"model_file": "", "clients": "1,8,64", "seconds": "20", "soak": "10"}
    options = read_options(argv, {**defaults, "output": str(HERE / "results" / "serving_http.json")})
    seconds, counts = float(options["seconds"]), [int(count) for count in options["clients"].split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = write_histories(options["model_file"], folder / "histories.json")
        rows = []
        for batching in (True, False):
            with service(options["model_file"], folder / f"{batching}.memory", batching) as (port, _):
                rows += [{"batching": batching, **measure(folder, port, count, seconds)} for count in counts]
                print(*rows[-len(counts) :], sep="\n")
        result = {**facts, "cores": os.cpu_count(), "threads": os.environ.get("OMP_NUM_THREADS"), "rows": rows}
        if float(options["soak"]):
            with service(options["model_file"], folder / "soak.memory", True) as (port, pid):
                result["soak"] = soak(folder, port, pid, 60 * float(options["soak"]))
    Path(options["output"]).write_text(
        json_line({**result, "versions": versions(), "machine": machine("cpu")}) + "\n", encoding="utf-8"
    )


def write_histories(model_file: str, path: Path) -> dict[str, Any]:
    """Random histories of the model's items, most of them short. Return the model's sizes, and what identifies it."""
    from recbole_raserec.recommender import Recommender

    recommender, rng = Recommender.load(model_file, store=path.with_suffix(".none")), np.random.default_rng(0)
    items = recommender.items
    lengths = np.minimum(1 + rng.geometric(0.12, HISTORIES), 50)
    path.write_text(json.dumps([[items[n] for n in rng.integers(0, len(items), length)] for length in lengths]))
    return {"items": len(items), "memories": len(recommender.memory), "model": recommender.view().trained.digest}


@contextmanager
def service(model_file: str, store: Path, batching: bool) -> Iterator[tuple[int, int]]:
    """The port and the process id of a service."""
    script = "from recbole_raserec.cli import script; script()"
    words = [f"--model_file={model_file}", f"--store={store}", "--port=0", f"--batching={batching}"]
    command = [sys.executable, "-c", script, "serve", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        try:
            yield int(process.stdout.readline().split("/")[2].split(":")[1]), process.pid
        finally:
            process.terminate()


def measure(folder: Path, port: int, clients: int, seconds: float) -> dict[str, Any]:
    """Latencies and throughput of ``clients``, in a process of their own."""
    done = start_clients(folder, port, clients, seconds, writes=0).communicate()[0]
    took = np.array(json.loads(done))
    p50, p99 = np.percentile(1000 * took, (50, 99))
    figures = {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "requests_per_second": round(len(took) / seconds, 1)}
    return {"clients": clients, "requests": len(took), **figures}


def soak(folder: Path, port: int, pid: int, seconds: float) -> dict[str, Any]:
    """Resident memory over time under a mixed load."""
    clients, begin, seen = start_clients(folder, port, 8, seconds, writes=20), time.monotonic(), []
    while clients.poll() is None:
        seen.append([round(time.monotonic() - begin, 1), rss_mib(pid)])
        try:
            done = clients.communicate(timeout=EVERY)[0]
        except subprocess.TimeoutExpired:
            continue
    return {"requests": len(json.loads(done)), "rss_mib": seen}


def start_clients(folder: Path, port: int, clients: int, seconds: float, writes: int) -> subprocess.Popen:
    numbers = [str(number) for number in (port, clients, seconds, writes)]
    command = [sys.executable, __file__, "clients", str(folder / "histories.json"), *numbers]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE)


def rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024, 1)


def clients(file: str, port: int, count: int, seconds: float, writes: int) -> None:
    """Ask with ``count`` threads, and print the seconds of each request."""
    histories, took = json.loads(Path(file).read_text()), [[] for _ in range(count)]
    begin = time.monotonic() + WARM
    end = begin + seconds

    def ask(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for turn in range(10**9):
                content = request(histories[(turn * count + number) % len(histories)], number, turn, writes)
                start = time.monotonic()
                if start > end:
                    return
                connection.sendall(content)
                read_answer(connection)
                if start >= begin:
                    took[number].append(time.monotonic() - start)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(took), "a client had no answer"
    print(json.dumps([second for some in took for second in some]))


def request(history: list[str], number: int, turn: int, writes: int) -> bytes:
    """The bytes of a request: of ``writes`` in a row one adds a memory, and the next one forgets it. 0 is never."""
    owner = f"{number}-{turn // writes if writes else 0}"
    method, path, body = "POST", "/recommend", {"histories": [history]}
    if writes and turn % writes == 0:
        path, body = "/remember", {"history": history, "next_item": history[0], "owner": owner}
    elif writes and turn % writes == 1:
        method, path, body = "DELETE", f"/owners/{owner}", None
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def read_answer(connection: socket.socket) -> None:
    """Read a whole answer, which must be 200."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += received(connection)
    head, _, body = text.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), text
    left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
    while left > 0:
        left -= len(received(connection))


def received(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    assert part, "the service closed the connection"
    return part


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    if sys.argv[1:2] == ["clients"]:
        file, port, count, seconds, writes = sys.argv[2:]
        clients(file, int(port), int(count), float(seconds), int(writes))
    else:
        main(sys.argv[1:])
