"""The JSON Schemas of the bodies. The service checks with the same schemas that its OpenAPI page shows."""

from __future__ import annotations

from typing import Any

from recbole_raserec.serving.problems import Refusal
from recbole_raserec.serving.settings import Limits

Schema = dict[str, Any]

LONGEST_TOKEN = 1000
TOKEN: Schema = {"type": ["string", "integer"], "minLength": 1, "maxLength": LONGEST_TOKEN}
_OWNER: Schema = {"type": ["string", "integer", "null"], "minLength": 1, "maxLength": LONGEST_TOKEN}
_TIME: Schema = {"type": ["number", "string", "null"], "maxLength": 100}
_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_LEAST = {"minLength": "empty", "minItems": "empty", "minimum": "too small"}
_MOST = {"maxLength": "too long", "maxItems": "too many", "maximum": "too large"}


def bodies(limits: Limits) -> dict[str, Schema]:
    """The schema of the body of each endpoint that has one."""
    history = _array(TOKEN, limits.max_history)
    some, k = _array(TOKEN, limits.max_body), {"type": "integer", "minimum": 1, "maximum": limits.max_k, "default": 10}
    unknown = {"type": "string", "enum": ["raise", "ignore"], "default": "raise"}
    memory = _object(
        {"history": {**history, "minItems": 1}, "next_item": TOKEN, "owner": _OWNER, "time": _TIME},
        "history", "next_item",
    )  # fmt: skip
    switch = {"type": "boolean", "default": False}
    recommend = {
        "histories": {**_array(history, limits.max_batch), "minItems": 1},
        "users": _array(_OWNER, limits.max_batch),
        "k": k,
        "filter_seen": {"type": "boolean", "default": True},
        "items": some,
        "exclude": some,
        "explain": switch,
        "titles": switch,
        "on_unknown": unknown,
    }
    similar = {"items": {**_array(TOKEN, limits.max_batch), "minItems": 1}, "k": k}
    return {
        "recommend": _object(recommend, "histories"),
        "explain": _object({"history": history, "item": TOKEN, "user": _OWNER}, "history", "item"),
        "similar": _object(similar, "items"),
        "remember": {"anyOf": [memory, {**_array(memory, limits.max_batch), "minItems": 1}]},
    }


def check(value: Any, schema: Schema, field: str = "body") -> None:
    """Raise Refusal, which names the field, unless ``value`` is as ``schema`` says."""
    for option in schema.get("anyOf", ()):
        if _is_of(value, option["type"]):
            return check(value, option, field)
    kinds = schema["type"] if "type" in schema else [option["type"] for option in schema["anyOf"]]
    if not _is_of(value, kinds):
        raise _wrong(field, value, f"not of type {_words(kinds)}", "see /docs for the form")
    if "enum" in schema and value not in schema["enum"]:
        raise _wrong(field, value, "not an allowed value", f"use one of {', '.join(schema['enum'])}")
    _check_size(value, schema, field)
    if isinstance(value, list):
        if (
            all(type(each) is str and 0 < len(each) <= LONGEST_TOKEN for each in value)
            and "minLength" in schema["items"]
        ):
            return  # the usual tokens, fast
        for number, each in enumerate(value):
            check(each, schema["items"], f"{field}[{number}]")
    elif isinstance(value, dict):
        _check_object(value, schema, "" if field == "body" else f"{field}.")


def _check_object(value: dict[str, Any], schema: Schema, prefix: str) -> None:
    known = schema["properties"]
    for name in value:
        if name not in known:
            raise _wrong(f"{prefix}{name}", None, "an unknown name", f"the names are {', '.join(known)}")
    for name in schema["required"]:
        if name not in value:
            raise _wrong(f"{prefix}{name}", None, "is missing", "give it; see /docs for the form")
    for name, each in value.items():
        check(each, known[name], f"{prefix}{name}")


def _check_size(value: Any, schema: Schema, field: str) -> None:
    is_number = isinstance(value, (int, float))
    if not is_number and not isinstance(value, (str, list)):
        return
    size = value if is_number else len(value)
    names = ("minimum", "maximum") if is_number else ("minLength", "maxLength") if isinstance(value, str) else None
    least, most = names or ("minItems", "maxItems")
    if size < schema.get(least, size):
        raise _wrong(field, value, _LEAST[least], f"give at least {schema[least]}")
    if size > schema.get(most, size):
        shown = value if is_number else None
        raise _wrong(
            field, shown, f"{_MOST[most]}{'' if is_number else f' ({size:,})'}", f"give at most {schema[most]:,}"
        )


def _is_of(value: Any, kinds: str | list[str]) -> bool:
    of = tuple(kind for name in ([kinds] if isinstance(kinds, str) else kinds) for kind in _KINDS[name])
    return isinstance(value, of) and (not isinstance(value, bool) or bool in of)


def _words(kinds: str | list[str]) -> str:
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _array(items: Schema, most: int) -> Schema:
    return {"type": "array", "items": items, "maxItems": most}


def _object(properties: dict[str, Schema], *required: str) -> Schema:
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False,
    }  # fmt: skip


def _wrong(field: str, value: Any, problem: str, mend: str) -> Refusal:
    return Refusal(422, field, value, problem, mend)
