"""``recbole-raserec serve``: one process, or several on one socket and one store."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import uvicorn

from recbole_raserec.errors import ConfigError, RaSeRecError
from recbole_raserec.serving.logs import log, start_logging
from recbole_raserec.serving.settings import Settings

_BACKLOG = 2048
_STOP = 30  # seconds for the answers to accepted requests
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. At SIGHUP the model's file is loaded again.

    Raises
    ------
    RaSeRecError : the model cannot be loaded, the store is another backbone's, or the port is in use.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the application takes it
    listening = _listen(settings.host, settings.port)
    start_logging()
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.token:
        log("no token: who reaches this address can read and change the memory", 30, host=settings.host)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{name}:{listening.getsockname()[1]}/"
    if settings.workers == 1:
        work(settings, listening, lambda: print(f"serving at {address} (stop with Ctrl-C)", flush=True))
    else:
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // settings.workers))
        with (
            tempfile.TemporaryDirectory(prefix="raserec-metrics-") as folder,
            _environment({_METRICS_FOLDER: folder, "OMP_NUM_THREADS": threads}),
        ):
            _Workers(settings, listening, Path(folder)).run(address)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """The environment of processes that start inside the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def work(
    settings: Settings,
    listening: socket.socket,
    when_started: Callable[[], None],
    tell_reload: Callable[[], None] = lambda: None,
) -> None:
    """Serve in this process until it is told to stop."""
    loaded = False

    def stop(number: int, frame: Any) -> None:
        if not loaded:  # later, uvicorn takes the signal, and raises it again when it has stopped
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:  # workers leave Ctrl-C to their parent
            signal.signal(number, stop)
    server = make_server(settings, tell_reload)
    server.when_started = when_started  # type: ignore[attr-defined]
    loaded = True
    server.run(sockets=[listening])


def make_server(settings: Settings, tell_reload: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """A server with its model loaded. Its ``run`` takes the listening sockets."""
    from recbole_raserec.serving.http import application  # here, because the parent of workers needs no torch
    from recbole_raserec.serving.metrics import Metrics
    from recbole_raserec.serving.protocol import Server, connection
    from recbole_raserec.serving.service import Service

    metrics = Metrics()
    service = Service(settings, metrics)
    server: Server
    app = application(settings, service, metrics, lambda: server.stopping, tell_reload)
    config = uvicorn.Config(
        app, http=connection(settings.limits.timeout), ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, backlog=_BACKLOG, timeout_graceful_shutdown=_STOP,
    )  # fmt: skip
    server = Server(config)
    return server


class _Workers:
    """The parent of the workers: it starts them, replaces one that dies, and passes signals on."""

    def __init__(self, settings: Settings, listening: socket.socket, folder: Path) -> None:
        self._settings, self._listening, self._folder = settings, listening, folder
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[Any, SpawnProcess] = {}  # by the end of the pipe on which each one tells what it does
        self._started: set[Any] = set()
        self._stopping = self._serving = False
        self._waking, self._wake = os.pipe()

    def run(self, address: str) -> None:
        """Until all workers have ended. ConfigError if one cannot start."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: os.write(self._wake, bytes([number])))
        for _ in range(self._settings.workers):
            self._start()
        failure: object = None
        while self._processes:
            for ready in wait([self._waking, *self._processes]):
                if ready == self._waking:
                    self._signal(os.read(self._waking, 1)[0])
                    continue
                said = self._hear(ready)
                if said and self._serving:  # the others go on, and this one is tried again
                    log("a worker could not start", 40, error=str(said))
                else:
                    failure = failure or said
            if len(self._started) == self._settings.workers and not self._serving:
                self._serving = True
                print(f"serving at {address} (stop with Ctrl-C)", flush=True)
        if isinstance(failure, BaseException):
            raise failure
        if failure:
            raise ConfigError("--workers", self._settings.workers, str(failure), "the log says why")

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_worker, args=(self._settings, self._listening, theirs))
        process.start()
        theirs.close()
        self._processes[ours] = process

    def _hear(self, pipe: Any) -> object:
        """Take in what a worker says, or its end. Return why the service cannot go on, if so."""
        try:
            said = pipe.recv()
        except (EOFError, OSError):
            return self._ended(pipe)
        if said == "started":
            self._started.add(pipe)
        elif said == "reloaded":
            self._send(signal.SIGHUP)
        else:
            return said
        return None

    def _ended(self, pipe: Any) -> object:
        process = self._processes.pop(pipe)
        process.join()
        pipe.close()
        was_started = pipe in self._started
        self._started.discard(pipe)
        for file in self._folder.glob(f"gauge_live*_{process.pid}.db"):
            file.unlink()
        if self._stopping:
            return None
        if not was_started and not self._serving:
            self._stop()
            return "a worker could not start"
        log("a worker died and is replaced", 40, process=process.pid, exit_code=process.exitcode)
        self._start()
        return None

    def _signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._send(signal.SIGHUP)
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._listening.close()  # the last worker to close it answers what waits in it
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for process in self._processes.values():
            if process.is_alive() and process.pid:
                os.kill(process.pid, number)


def _worker(settings: Settings, listening: socket.socket, pipe: Any) -> None:
    """A process of its own. It stops with its parent."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
    start_logging()
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        work(settings, listening, lambda: pipe.send("started"), lambda: pipe.send("reloaded"))
    except RaSeRecError as error:
        pipe.send(error)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        problem = f"port {port} cannot be used ({error.strerror or error})"
        raise ConfigError("--host", host, problem, "give another --port, for example --port=8001") from error
    listening.setblocking(False)
    return listening
