"""Examples for the description of the API: of parameters, bodies and answers, so that each route can be tried as it is
read. What a body says is written here; what an answer looks like follows from its schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_RUN, _TASK = "r-01jk5m8x2v3w4y6z", "r-01jk5m8x2v3w4y6z.0"
_TES = {"name": "hello", "executors": [{"image": "docker.io/library/busybox:1", "command": ["echo", "hello"]}]}

_OVER_TWO = {"app": "gc", "over": [{"sequence": "GATTACA"}, {"sequence": "CCGG"}], "name": "two sequences"}

#: Bodies, by path.
BODIES: dict[str, Any] = {
    "/api/v1/runs": _OVER_TWO,
    "/api/v1/estimate": _OVER_TWO,
    "/api/v1/runs:batch": [{"app": "gc", "over": [{"sequence": "GATTACA"}], "client_key": "sample-1"}],
    "/api/v1/tokens": {"name": "laptop", "scopes": ["read", "submit"], "expires_in_s": 7776000},
    "/api/v1/secrets/{name}": {"value": "what nobody is shown"},
    "/api/v1/webhooks": {"url": "https://gateway.example.org/hook", "events": ["ended"]},
    "/ga4gh/tes/v1/tasks": _TES,
    "/ga4gh/tes/v1/tasks:batch": {"tasks": [_TES]},
}
#: Texts, by type.
_TEXTS = {
    "text/csv": "sequence\nGATTACA\nCCGG\n",
    "application/x-ndjson": '{"sequence": "GATTACA"}\n{"sequence": "CCGG"}\n',
    "text/event-stream": 'event: end\nid: 1:6\ndata: {"offset":6}\n\n',
    "text/plain": 'packhorse_tasks{site="local",state="RUNNING"} 4.0\n',
    "text/html": "<!DOCTYPE html>\n<title>A run</title>\n",
}
#: Values, by the name of a field or a parameter.
_VALUES: dict[str, Any] = {
    "run_id": _RUN,
    "task_id": _TASK,
    "token_id": "t-9f86d081884c7d65",
    "webhook_id": "w-01jk5m8x2v3w4y6z",
    "grantee": "user:ben",
    "stream": "stdout",
    "path": "result.json",
    "name": "gc",
    "user": "ana",
    "by": "ana",
    "app": "gc@1.0",
    "site": "local",
    "step": "gc",
    "url": "https://example.org/data/genome.fa",
    "token": "ph_shown-this-once",
    "secret": "whsec_shown-this-once",
    "cursor": "1042",
    "next_cursor": "1042",
    "created_at": 1780000000.0,
    "started_at": 1780000005.0,
    "ended_at": 1780000042.0,
    "at": 1780000000.0,
    "version": "1.0",
    "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "request_id": "q-01jk5m8x2v3w4y6z",
    "code": "not_found",
    "message": "There is no run 'r-01jk5m8x2v3w4y6z'.",
    "hint": "'packhorse ps' lists your runs.",
    "result": "0.43",
}
_IDS = {"TokenView": "t-9f86d081884c7d65", "NewTokenView": "t-9f86d081884c7d65", "TaskView": _TASK, "TaskDetail": _TASK}
_DEEPEST = 6


def add_examples(document: dict[str, Any]) -> None:
    """Adds examples to an OpenAPI document, where there are none: of its own accord it has none."""
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter.setdefault("example", _VALUES.get(parameter["name"], _TASK))
            for kind, content in _contents(operation):
                if "example" in content:
                    continue
                if kind != "application/json":
                    if kind in _TEXTS:
                        content["example"] = _TEXTS[kind]
                else:
                    content["example"] = example_of(content.get("schema", {}), schemas)
            if path in BODIES and "requestBody" in operation:
                operation["requestBody"]["content"]["application/json"]["example"] = BODIES[path]


def _contents(operation: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(type, content) of what is sent, and of what is answered where all goes well."""
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            yield from answer.get("content", {}).items()


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """A value that a schema takes; ``name`` is that of its field. Pure."""
    if ref := schema.get("$ref"):
        model = ref.rpartition("/")[2]
        found = example_of(schemas[model], schemas, name, depth + 1)
        if isinstance(found, dict) and "id" in found:
            found["id"] = _IDS.get(model, found["id"])
        return found
    for given in ("const", "default", "example"):
        if schema.get(given) is not None:
            return schema[given]
    if choices := schema.get("enum"):
        return choices[0]
    if kinds := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return example_of(kinds[0], schemas, name, depth + 1)
    kind = schema.get("type")
    if kind == "array":
        many = depth < _DEEPEST or schema.get("minItems", 0)
        return [example_of(schema.get("items", {}), schemas, name, depth + 1)] if many else []
    if kind == "object":
        return _object(schema, schemas, depth)
    if kind == "null":
        return None
    value = _VALUES.get(name, _RUN if name == "id" else None)
    return value if _fits(value, kind) else _plain(kind, schema)


def _object(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> dict[str, Any]:
    required = schema.get("required", [])
    found = {
        field: example_of(one, schemas, field, depth + 1)
        for field, one in schema.get("properties", {}).items()
        if field in required or depth < _DEEPEST
    }
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and not found and depth < _DEEPEST:
        names = schema.get("propertyNames", {})
        key = example_of(names, schemas, "", depth + 1) if names.get("enum") or names.get("$ref") else "key"
        found = {str(key): example_of(values, schemas, "", depth + 1)}
    return found


def _fits(value: Any, kind: str | None) -> bool:
    kinds = {"string": str, "number": int | float, "integer": int}
    return value is not None and isinstance(value, kinds.get(kind or "", object))


def _plain(kind: str | None, schema: Mapping[str, Any]) -> Any:
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if kind == "boolean":
        return True
    return "text" if kind == "string" else {}
