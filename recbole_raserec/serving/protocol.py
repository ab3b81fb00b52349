"""uvicorn's connection with deadlines for slow clients, and its server with a stop that answers what was accepted."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, Callable, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from recbole_raserec.serving.problems import Refusal, as_json

_GRACE = 0.2  # seconds in which a stopping server reads what clients have already sent


class Connection(H11Protocol):
    """A connection that is cut when its client is too slow.

    The limit counts from the first byte of a request to the end of its head, from an early answer (as to a body that
    is too large) to the end of the body, and from a full buffer to the client's next reading. The body's own limit is
    in :mod:`~recbole_raserec.serving.bodies`.
    """

    timeout: ClassVar[float] = 10

    def __init__(self, *of: Any, **named: Any) -> None:
        super().__init__(*of, **named)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio does so only for sockets whose protocol is named, and that of socket.create_server is not. Without it
        # the body of an answer waits 40 ms for the client's acknowledgement of the head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin("head")

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._begin("head")
        super().data_received(data)
        if self.cycle is not cycle:
            self._end("head")

    def on_response_complete(self) -> None:
        self._end("head")
        if self.conn.their_state is h11.SEND_BODY:
            self._begin("head")
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._end(name)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._begin("reading")

    def resume_writing(self) -> None:
        self._end("reading")
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        refusal = Refusal(400, "request", None, "it is not HTTP", "see /docs for the form")
        body = json.dumps(as_json(refusal)).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _begin(self, name: str) -> None:
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(self.timeout, self.transport.abort)

    def _end(self, name: str) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()


def connection(timeout: float) -> type[Connection]:
    """The class of connections with this limit."""
    return type("Connection", (Connection,), {"timeout": timeout})


class Server(uvicorn.Server):
    """A server that stops without losing a request that had arrived.

    Attributes
    ----------
    when_started : called when it accepts connections.
    """

    when_started: Callable[[], None] = staticmethod(lambda: None)
    stopping = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self.when_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.stopping = True
        accepted = [one for listening in sockets or [] for one in _waiting(listening)]
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        loop = asyncio.get_running_loop()
        for one in accepted:
            await loop.connect_accepted_socket(self._connection, one)
        await asyncio.sleep(_GRACE)
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg, return-value]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _waiting(listening: socket.socket) -> list[socket.socket]:
    """The connections that the system has accepted and the server has not."""
    found: list[socket.socket] = []
    while True:
        try:
            one, _ = listening.accept()
        except OSError:
            return found
        one.setblocking(False)
        found.append(one)
