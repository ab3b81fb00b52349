"""What each request passes first: the host, the token, the log, the counters, and the headers of the answer."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_raserec.errors import RaSeRecError
from recbole_raserec.serving.logs import log, log_error
from recbole_raserec.serving.metrics import Metrics
from recbole_raserec.serving.problems import Refusal, as_json, status_of
from recbole_raserec.serving.settings import Settings

OPEN = frozenset({"/", "/docs", "/openapi.json", "/health/live"})  # without a token: they tell nothing of anyone
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_MEND = {404: "the endpoints are in /docs", 405: "the header Allow names the methods"}


class Answer(Response):
    """JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


class Front:
    """An application around ``app``. It answers errors, so the server sees none.

    Parameters
    ----------
    stopping : whether the server is about to stop; then it keeps no connection.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._app, self._settings, self._metrics, self._stopping = app, settings, metrics, stopping
        self._token = _digest(settings.token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begin, status, request_id = time.perf_counter(), 0, os.urandom(8).hex()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {"X-Request-ID": request_id, **_HEADERS}.items():
                    headers.setdefault(name, value)
                if self._stopping():
                    headers["Connection"] = "close"
            await send(message)

        scope["app"] = self  # then the router raises what it cannot find
        try:
            self._check(scope)
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            pass
        except Exception as error:
            if status:
                log_error("failed while answering", request=request_id)
                raise
            await _response(error, request_id)(scope, receive, answer)
        finally:
            self._record(scope, status, request_id, time.perf_counter() - begin)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = self._settings.hosts
        if hosts and _name(headers.get("host", "")) not in hosts:
            mend = "call it by 127.0.0.1, or start the service with a token"
            raise Refusal(403, "Host", headers.get("host"), "not a name of this machine", mend)
        if not self._settings.token or scope["path"] in OPEN:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not hmac.compare_digest(_digest(token.strip().encode()), self._token) or scheme.lower() != "bearer":
            problem = "a wrong token" if token else "is missing"
            raise Refusal(401, "Authorization", None, problem, "send the header Authorization: Bearer TOKEN")

    def _record(self, scope: Scope, status: int, request_id: str, seconds: float) -> None:
        endpoint = getattr(scope.get("endpoint"), "__name__", "none")
        self._metrics.requests.labels(endpoint, str(status)).inc()
        self._metrics.seconds.labels(endpoint).observe(seconds)
        if endpoint.startswith("health") and status == 200:
            return
        facts = {"request": request_id, "method": scope["method"], "endpoint": endpoint, "status": status}
        facts["ms"] = round(1000 * seconds, 2)  # the address and the path could name a person
        log("request", **facts, **scope.get("facts", {}))


def _response(error: Exception, request_id: str) -> Response:
    if isinstance(error, RaSeRecError):
        status, headers = status_of(error), {}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if status in (429, 503):
            headers["Retry-After"] = str(getattr(error, "retry_after", 1))
        if status == 503:
            log("not served", logging.WARNING, request=request_id, problem=error.problem)
        if status == 408:
            headers["Connection"] = "close"
        return Answer(as_json(error), status, headers)
    if isinstance(error, HTTPException):
        mend = _MEND.get(error.status_code, "see /docs")
        refusal = Refusal(error.status_code, "request", None, error.detail, mend)
        return Answer(as_json(refusal), error.status_code, dict(error.headers or {}))
    log_error("failed", request=request_id)
    refusal = Refusal(500, "service", None, "it failed", f"tell its owner the X-Request-ID {request_id}")
    return Answer(as_json(refusal), 500)


def _digest(token: bytes) -> bytes:
    """Of one length, so that a comparison takes the same time for all tokens."""
    return hashlib.sha256(token).digest()


def _name(host: str) -> str:
    """The host of ``host:port`` or ``[host]:port``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
