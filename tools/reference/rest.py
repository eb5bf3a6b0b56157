"""The REST API, from its OpenAPI document and the docstrings of its models."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel

from packhorse.api.app import create_app
from packhorse.api.errors import REFUSALS
from tools.reference.markdown import anchor, one_line, page, prose, table
from tools.reference.models import default_words, field_docs, type_words

_INTRODUCTION = """
Every request but `GET /api/v1/health` and `GET /api/v1/health/ready` needs a token: `Authorization: Bearer TOKEN`. A
server describes itself at `/api/v1/openapi.json`. Bodies are JSON where nothing else is said. Times are seconds since
the epoch, sizes bytes, durations seconds.
"""


_DOCUMENTS = """
A field that is required is needed in a request, and always there in an answer.
"""


def rest_page() -> str:
    """Endpoints by subject, what may be refused, and the documents."""
    document = _document()
    schemas = document["components"]["schemas"]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_endpoint(method.upper(), path, operation))
    order = sorted(by_tag, key=lambda tag: tag == "about")
    endpoints = [f"## {tag.capitalize()}\n\n" + "\n\n".join(by_tag[tag]) for tag in order]
    models = [f"### {_title(name, schemas)}\n\n{_model(name, schemas)}" for name in sorted(schemas)]
    return page(
        "REST API", prose(_INTRODUCTION), *endpoints, _refusals(), f"## Documents\n\n{prose(_DOCUMENTS)}", *models
    )


def _document() -> dict[str, Any]:
    nothing = cast(Any, None)  # to describe endpoints takes no service and no tokens
    return create_app(nothing, nothing).openapi()


def _link(name: str) -> str:
    title = name if not name.endswith("_") else name.strip("_").replace("_", "[") + "]"
    return f"[{title}](#{anchor(title)})".replace("[Page[", r"[Page\[").replace("]](", r"\]](")


def _title(name: str, schemas: dict[str, Any]) -> str:
    return str(schemas[name].get("title", name))


def _endpoint(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        (f"`{one['name']}`", one["in"], *_field(one["schema"], one.get("required", False)), _about(one))
        for one in operation.get("parameters", [])
    ]
    parts = [
        f"### {method} {path}",
        prose(f"**{operation['summary']}.** {operation.get('description', '')}"),
        table(("parameter", "in", "type", "default", ""), rows) if rows else "",
    ]
    if body := operation.get("requestBody"):
        parts.append(f"Body: {_content(body['content'])}.")
    for code, answer in operation["responses"].items():
        if code.startswith("2"):
            parts.append(f"Answer: {code}, {_content(answer.get('content', {}))}.")
    return "\n\n".join(part for part in parts if part)


def _about(parameter: dict[str, Any]) -> str:
    return one_line(parameter.get("description", ""))


def _field(schema: dict[str, Any], required: bool) -> tuple[str, str]:
    return type_words(schema, _link), default_words(schema, required=required, none="")


def _content(content: dict[str, Any]) -> str:
    if not content:
        return "nothing"
    kinds = {kind: type_words(one.get("schema", {}), _link) for kind, one in content.items()}
    return ", or ".join(what if kind == "application/json" else f"`{kind}`" for kind, what in kinds.items())


def _refusals() -> str:
    rows = [(str(code), str(one["description"])) for code, one in REFUSALS.items()]
    return f"## Refusals\n\nThe body of each is a {_link('Refusal')}.\n\n{table(('status', ''), rows)}"


def _model(name: str, schemas: dict[str, Any]) -> str:
    schema = schemas[name]
    about = prose(schema.get("description"))
    if "properties" not in schema:
        return f"{about}\n\n{prose(type_words(schema, _link))}."
    kind = _models().get(name)
    docs = field_docs(kind) if kind is not None else {}
    required = schema.get("required", [])
    rows = [
        (f"`{field}`", *_field(one, field in required), docs.get(field) or _about(one))
        for field, one in schema["properties"].items()
    ]
    return f"{about}\n\n{table(('field', 'type', 'default', ''), rows)}"


def _models() -> dict[str, type[BaseModel]]:
    """All models of ours that have been imported, by name."""
    found: dict[str, type[BaseModel]] = {}
    left: list[type[BaseModel]] = [BaseModel]
    while left:
        kinds = left.pop().__subclasses__()
        left += kinds
        found |= {kind.__name__: kind for kind in kinds if kind.__module__.startswith("packhorse.")}
    return found
