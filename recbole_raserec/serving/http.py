"""The endpoints: an ASGI application over a :class:`~recbole_raserec.serving.service.Service`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from recbole_raserec.errors import RaSeRecError
from recbole_raserec.serving.bodies import parse, read_body
from recbole_raserec.serving.front import Answer, Front
from recbole_raserec.serving.logs import log, log_error
from recbole_raserec.serving.metrics import Metrics
from recbole_raserec.serving.openapi import document
from recbole_raserec.serving.problems import Refusal
from recbole_raserec.serving.schemas import LONGEST_TOKEN, bodies, check
from recbole_raserec.serving.service import Service
from recbole_raserec.serving.settings import Settings

_LARGE = 2**14  # bytes of a body, or values of an answer, that are worth a thread
_MOST_FOUND, _LONGEST_SEARCH = 100, 200


def application(
    settings: Settings,
    service: Service,
    metrics: Metrics,
    stopping: Callable[[], bool] = lambda: False,
    tell_reload: Callable[[], None] = lambda: None,
) -> Front:
    """The application of the service.

    Parameters
    ----------
    stopping : whether the server is about to stop.
    tell_reload : called after a reload, so that the other workers do it too.
    """
    endpoints = _Endpoints(settings, service, metrics, stopping, tell_reload)
    router = Router(endpoints.routes(), redirect_slashes=False, lifespan=endpoints.lifespan)
    return Front(router, settings, metrics, stopping)


class _Any(Convertor[str]):
    """Any text; Starlette's ``path`` has no line ends."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", _Any())


class _Endpoints:
    def __init__(
        self,
        settings: Settings,
        service: Service,
        metrics: Metrics,
        stopping: Callable[[], bool],
        tell_reload: Callable[[], None],
    ) -> None:
        self._settings, self._service, self._metrics = settings, service, metrics
        self._stopping, self._tell_reload = stopping, tell_reload
        self._schemas, self._loading = bodies(settings.limits), threading.Lock()
        self._pages = {name: _page(name) for name in ("page.html", "docs.html")}

    def routes(self) -> list[Route]:
        """Each endpoint is named by its function, also in the log and in the metrics."""
        posts = self.recommend, self.explain, self.similar, self.remember, self.reload
        return [
            *(Route(f"/{endpoint.__name__}", endpoint, methods=["POST"]) for endpoint in posts),
            Route("/owners/{owner:any}", self.forget, methods=["DELETE"]),
            Route("/memories", self.forget_since, methods=["DELETE"]),
            Route("/items", self.items),
            Route("/health/live", self.health_live),
            Route("/health/ready", self.health_ready),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
            Route("/docs", self.docs),
            Route("/", self.page),
        ]

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Reload at SIGHUP, and finish the service's work at the end."""
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def reload() -> None:
            tasks.add(loop.create_task(self._reload_at_signal()))

        if threading.current_thread() is threading.main_thread():
            loop.add_signal_handler(signal.SIGHUP, reload)
        yield
        await asyncio.gather(*tasks)
        await asyncio.to_thread(self._service.close)

    async def recommend(self, request: Request) -> Response:
        answers = await self._service.recommend(await self._body(request, "recommend"))
        content = {"answers": answers}
        if sum(len(answer["items"]) for answer in answers) > _LARGE // 16:
            return await asyncio.to_thread(Answer, content)
        return Answer(content)

    async def explain(self, request: Request) -> Response:
        body = await self._body(request, "explain")
        return Answer(await self._service.read(self._service.explain, body))

    async def similar(self, request: Request) -> Response:
        body = await self._body(request, "similar")
        return Answer({"answers": await self._service.read(self._service.similar, body)})

    async def remember(self, request: Request) -> Response:
        body = await self._body(request, "remember")
        return Answer({"ids": await self._service.write(self._service.remember, body)})

    async def forget(self, request: Request) -> Response:
        return Answer({"forgotten": await self._service.write(self._service.forget, _owner(request))})

    async def forget_since(self, request: Request) -> Response:
        self._needs_token("memories", "use the command forget on its machine")
        time = request.query_params.get("added_since", "")
        if not time or len(time) > _LONGEST_SEARCH:
            mend = "for example DELETE /memories?added_since=2024-01-19T10:00:00"
            raise Refusal(422, "added_since", None, "too long" if time else "is missing", mend)
        return Answer({"forgotten": await self._service.write(self._service.forget_since, time)})

    def _needs_token(self, field: str, mend: str) -> None:
        if not self._settings.token:
            raise Refusal(403, field, None, "the service has no token", mend)

    async def items(self, request: Request) -> Response:
        text, limit = request.query_params.get("search", ""), request.query_params.get("limit", "20")
        if len(text) > _LONGEST_SEARCH:
            raise Refusal(422, "search", None, "too long", f"give at most {_LONGEST_SEARCH} letters")
        if not re.fullmatch(r"0*[1-9][0-9]{0,2}", limit, re.ASCII) or int(limit) > _MOST_FOUND:
            raise Refusal(422, "limit", limit, f"not a whole number from 1 to {_MOST_FOUND}", "for example limit=20")
        return Answer({"items": await self._service.read(self._service.search, text, int(limit))})

    async def reload(self, request: Request) -> Response:
        self._needs_token("reload", "send SIGHUP to its process")
        try:
            outcome = await asyncio.to_thread(self._reload)
        except RaSeRecError as error:
            raise Refusal(409, error.field, None, error.problem, "the old model goes on; " + error.mend) from error
        self._tell_reload()
        return Answer({"outcome": outcome})

    async def health_live(self, request: Request) -> Response:
        return Answer({"status": "alive"})

    async def health_ready(self, request: Request) -> Response:
        if self._stopping():
            raise Refusal(503, "service", None, "it is stopping", "use another one")
        return Answer(await self._service.read(self._service.ready))

    async def metrics(self, request: Request) -> Response:
        self._metrics.waiting.set(self._service.waiting)
        page = await asyncio.to_thread(self._metrics.page)
        return Response(page, media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        return Answer(document(self._settings, self._service.examples))

    async def docs(self, request: Request) -> Response:
        return self._html("docs.html")

    async def page(self, request: Request) -> Response:
        return self._html("page.html")

    def _html(self, name: str) -> Response:
        text, policy = self._pages[name]
        return Response(text, media_type="text/html", headers={"Content-Security-Policy": policy})

    async def _body(self, request: Request, name: str) -> Any:
        """The checked body of a request."""
        content = await read_body(request, self._settings.limits)
        body = (
            await asyncio.to_thread(self._parse, content, name) if len(content) > _LARGE else self._parse(content, name)
        )
        if self._settings.log_histories:
            request.scope["facts"] = {"body": body}
        return body

    def _parse(self, content: bytes, name: str) -> Any:
        body = parse(content)
        check(body, self._schemas[name])
        return body

    def _reload(self) -> str:
        with self._loading:
            return self._service.reload()

    async def _reload_at_signal(self) -> None:
        try:
            if await asyncio.to_thread(self._reload) == "unchanged":
                log("reload", outcome="unchanged")
        except RaSeRecError:
            pass  # it is in the log
        except Exception:
            log_error("reload failed")


def _owner(request: Request) -> str:
    """The owner in the path, decoded strictly: another one must not be forgotten instead."""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    try:
        owner = unquote_to_bytes(path.partition(b"?")[0])[len("/owners/") :].decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(400, "owner", None, "not UTF-8", "encode it as UTF-8, and then in percent") from error
    if not 0 < len(owner) <= LONGEST_TOKEN:
        problem = f"it has {len(owner):,} letters"
        raise Refusal(422, "owner", None, problem, f"give 1 to {LONGEST_TOKEN:,}: DELETE /owners/anna")
    return owner


def _page(name: str) -> tuple[str, str]:
    """A page, and the policy by which a browser runs its own script and style and nothing else."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    script, style = (_hashes(text, tag) for tag in ("script", "style"))
    policy = f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
    return (
        text,
        policy + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    )


def _hashes(text: str, tag: str) -> str:
    inner = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inner)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
