"""The OpenAPI document of the service. Its examples run: they name items of the model."""

from __future__ import annotations

from typing import Any

import recbole_raserec
from recbole_raserec.serving.schemas import LONGEST_TOKEN, bodies
from recbole_raserec.serving.settings import Settings

_STRING, _NUMBER, _INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_ERRORS = {
    "400": "The body is not JSON in UTF-8, or the request is not HTTP",
    "401": "The token is wrong or missing",
    "403": "The host is not a name of this machine, or the service has no token",
    "404": "There is no such endpoint",
    "405": "The endpoint has other methods",
    "408": "The body did not arrive in time",
    "409": "The new model was refused, and the old one goes on",
    "413": "The body is too large",
    "415": "The body is not application/json",
    "422": "A value is wrong, or an owner has too many memories",
    "429": "Too many memories were added this minute",
    "503": "The service is busy or stopping, or its store cannot be used",
}


def document(settings: Settings, items: list[str]) -> dict[str, Any]:
    """OpenAPI 3.1, with ``items`` in the examples."""
    schemas, first = bodies(settings.limits), items[0]
    examples = {
        "recommend": {"histories": [items[:2], [first]], "k": 5, "explain": True, "titles": True},
        "explain": {"history": items[:2], "item": items[-1]},
        "similar": {"items": [first], "k": 5},
        "remember": {"history": items[:2], "next_item": items[-1], "owner": "anna", "time": "2024-01-19 10:00:00"},
    }
    paths = {f"/{name}": {"post": _post(name, schemas[name], examples[name])} for name in schemas}
    paths["/owners/{owner}"] = {"delete": _operation("forget", _FORGOTTEN, 400, 422, parameters=[_owner()])}
    paths["/memories"] = {"delete": _operation("forget_since", _FORGOTTEN, 422, parameters=[_since()])}
    paths["/items"] = {"get": _operation("items", _ITEMS, 422, parameters=_search(items))}
    paths["/reload"] = {"post": _operation("reload", _object(outcome={"enum": ["loaded", "unchanged"]}), 409)}
    paths["/health/live"] = {"get": {**_operation("health_live", _object(status={"const": "alive"})), "security": []}}
    ready = _object(status={"const": "ready"}, items=_INTEGER, memories=_INTEGER)
    paths["/health/ready"] = {"get": _operation("health_ready", ready)}
    paths["/metrics"] = {"get": _operation("metrics", None)}
    used = bool(settings.token)
    return {
        "openapi": "3.1.0",
        "info": {"title": "recbole-raserec", "version": recbole_raserec.__version__},
        "paths": paths,
        "components": {
            "schemas": {
                "Error": _object(field=_STRING, value={"type": ["string", "null"]}, problem=_STRING, mend=_STRING)
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}} if used else {},
        },
        "security": [{"token": []}] if used else [],
    }


def _post(name: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}
    more = (429,) if name == "remember" else ()
    return _operation(name, _ANSWERS[name], 400, 408, 413, 415, 422, *more, requestBody=body)


def _operation(name: str, answer: dict[str, Any] | None, *errors: int, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = (
        {"application/json": {"schema": answer}} if answer else {"text/plain": {"schema": _STRING}}
    )
    responses: dict[str, Any] = {"200": {"description": "Done", "content": content}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status in sorted({*errors, 401, 403, 404, 405, 503}):
        responses[str(status)] = {"description": _ERRORS[str(status)], "content": error}
    return {"operationId": name, "summary": _SUMMARIES[name], **more, "responses": responses}


def _owner() -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_TOKEN}
    return {"name": "owner", "in": "path", "required": True, "schema": schema, "example": "anna"}


def _since() -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    example = "2024-01-19T10:00:00"
    return {"name": "added_since", "in": "query", "required": True, "schema": schema, "example": example}


def _search(items: list[str]) -> list[dict[str, Any]]:
    text = {"type": "string", "maxLength": 200}
    limit = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    return [
        {"name": "search", "in": "query", "schema": text, "example": items[0]},
        {"name": "limit", "in": "query", "schema": limit, "example": 5},
    ]


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(**properties: Any) -> dict[str, Any]:
    """An object that has all of these and nothing else."""
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def _recommended() -> dict[str, Any]:
    always = _object(
        user={"type": ["string", "integer"]}, items=_array(_STRING), scores=_array(_NUMBER), cold={"type": "boolean"}
    )
    sometimes = {"reasons": _array(_STRING), "titles": _array(_STRING)}
    return {**always, "properties": {**always["properties"], **sometimes}}


_MEMORY = _object(
    item=_STRING, person=_INTEGER, cosine=_MAYBE_NUMBER, attention=_NUMBER, contribution=_NUMBER, vote=_NUMBER,
    length=_INTEGER, time=_MAYBE_NUMBER,
)  # fmt: skip
_ANSWERS = {
    "recommend": _object(answers=_array(_recommended())),
    "explain": _object(
        item=_STRING, title=_STRING, sentence=_STRING, score=_NUMBER, own=_NUMBER, constant=_NUMBER,
        memories=_array(_MEMORY),
    ),
    "similar": _object(answers=_array(_object(item=_STRING, items=_array(_STRING), scores=_array(_NUMBER)))),
    "remember": _object(ids=_array(_INTEGER)),
}  # fmt: skip
_FORGOTTEN, _ITEMS = _object(forgotten=_INTEGER), _object(items=_array(_object(item=_STRING, title=_STRING)))
_SUMMARIES = {
    "recommend": "The best items of each history, and why",
    "explain": "Why a history gets an item: the memories behind it",
    "similar": "The items whose vectors are nearest",
    "remember": "Add one memory or a list of them, durably, all or none",
    "forget": "Delete an owner's memories, also from the disk",
    "forget_since": "Delete what was added at a time or later, also from the disk; needs a token",
    "items": "Search items by the words of their titles",
    "reload": "Serve the model that the file holds now; needs a token",
    "health_live": "Whether the process answers",
    "health_ready": "Whether the model and the store can be used",
    "metrics": "Counters for Prometheus",
}
