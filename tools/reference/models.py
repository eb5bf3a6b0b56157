"""What the fields of a pydantic model are, by its JSON Schema and by the docstrings below its fields."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tools.reference.markdown import one_line

#: How a model that a schema refers to is written.
Link = Callable[[str], str]

_WORDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
_BOUNDS = {"minimum": "≥", "ge": "≥", "exclusiveMinimum": ">", "maximum": "≤", "le": "≤"}
_NULL = {"type": "null"}
_BOUNDLESS = 1e15  # a limit that only keeps numbers within 64 bits


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Field → its description, else the docstring below it, here or in the class that it comes from."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind.__module__.startswith("packhorse."):
            found |= _class_docs(inspect.getfile(kind)).get(kind.__name__, {})
    given = {name: info.description for name, info in model.model_fields.items() if info.description}
    return {name: one_line(text) for name, text in {**found, **given}.items()}


@cache
def _class_docs(file: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: dict(_attribute_docs(node)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _attribute_docs(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            yield field.target.id, after.value.value


def type_words(schema: dict[str, Any], link: Link) -> str:
    """What a value may be, in words: ``list of text``, ``integer ≥ 1``."""
    if ref := schema.get("$ref"):
        return link(ref.rpartition("/")[2])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if choices := schema.get("enum"):
        return " or ".join(f"`{json.dumps(choice)}`" for choice in choices)
    if kinds := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(type_words(kind, link) for kind in kinds))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_item_words(schema.get('items', {}), link)}"
    if kind == "object":
        values = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
        of = [value for value in values if isinstance(value, dict) and value]
        return f"object of {_item_words(of[0], link)}" if of else "object"
    if schema.get("format") in ("binary", "path"):
        return "bytes" if schema["format"] == "binary" else "path"
    known = {sign: schema[name] for name, sign in _BOUNDS.items() if name in schema}
    bounds = [f"{sign} {value:,.12g}" for sign, value in known.items() if abs(value) < _BOUNDLESS]
    return " ".join([_WORDS.get(kind or "", "anything"), ", ".join(bounds)]).strip()


def _item_words(schema: dict[str, Any], link: Link) -> str:
    words = type_words(schema, link)
    return f"({words})" if " or " in words else words


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose null is only the default, without it."""
    if _NULL not in schema.get("anyOf", []):
        return schema
    kinds = [kind for kind in schema["anyOf"] if kind != _NULL]
    return kinds[0] if len(kinds) == 1 else {**schema, "anyOf": kinds}


def default_words(schema: dict[str, Any], *, required: bool, none: str) -> str:
    """The default of a field as it would be written; ``none`` stands for null."""
    if required:
        return "required"
    default = schema.get("default")
    return none if default is None else f"`{json.dumps(default)}`"
