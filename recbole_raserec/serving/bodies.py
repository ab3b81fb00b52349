"""The body of a request: read within a limit, and parsed strictly."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from starlette.requests import Request

from recbole_raserec.serving.problems import Refusal
from recbole_raserec.serving.settings import Limits

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MEND = "send one JSON object in UTF-8; see /docs for the form"


async def read_body(request: Request, limits: Limits) -> bytes:
    """The bytes of a JSON body. Refused: another type, more than the limit before it is read whole, a slow client."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a page of another site cannot send this type unasked
        mend = "send the header Content-Type: application/json"
        raise Refusal(415, "Content-Type", kind or None, "not application/json", mend)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limits.max_body:
        raise _too_large(limits)
    try:
        return await asyncio.wait_for(_read(request, limits), limits.timeout)
    except asyncio.TimeoutError as error:
        raise Refusal(408, "body", None, f"it did not arrive in {limits.timeout} s", "send it faster") from error


async def _read(request: Request, limits: Limits) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.max_body:
            raise _too_large(limits)
        parts.append(part)
    return b"".join(parts)


def parse(body: bytes) -> Any:
    """The JSON of a body. Refused are other text, NaN, a name twice in one object, and half a surrogate pair."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError as error:
        raise Refusal(400, "body", None, "a text has half a surrogate pair", _MEND) from error
    except UnicodeDecodeError as error:
        raise Refusal(400, "body", None, f"byte {error.start} is not UTF-8", _MEND) from error
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "body", None, f"not JSON ({error})", _MEND) from error


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, "body", None, f"it has more than {limits.max_body:,} bytes", "send less at once")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found
