"""Every route of the description has an example, and each example is what its schema takes."""

from __future__ import annotations

from typing import Any, cast

import jsonschema_rs
import pytest
from fastapi.testclient import TestClient

from packhorse.api.app import create_app
from packhorse.api.examples import BODIES, example_of

DOCUMENT = create_app(cast(Any, None), cast(Any, None)).openapi()
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def contents(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = list(operation.get("requestBody", {}).get("content", {}).items())
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            found += answer.get("content", {}).items()
    return found


@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=lambda one: one if isinstance(one, str) else ""
)
def test_a_route_has_an_example_that_is_right(path: str, method: str, operation: dict[str, Any]) -> None:
    given = [one for one in operation.get("parameters", []) if "example" in one]
    examples = [(kind, content) for kind, content in contents(operation) if "example" in content]
    assert given or examples, "nothing shows how it is asked, or what it answers"
    for kind, content in contents(operation):
        if kind == "application/json":
            assert "example" in content
            schema = {**content.get("schema", {}), "components": DOCUMENT["components"]}
            errors = [str(error) for error in jsonschema_rs.validator_for(schema).iter_errors(content["example"])]
            assert not errors, content["example"]
    if "requestBody" in operation:
        assert any("example" in content for content in operation["requestBody"]["content"].values())
    for one in operation.get("parameters", []):
        assert one["in"] != "path" or "example" in one


def test_all_bodies_that_are_written_down_are_of_routes_that_there_are() -> None:
    assert set(BODIES) <= set(DOCUMENT["paths"])


def test_an_example_has_no_end_where_a_model_has_itself() -> None:
    model = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    assert isinstance(example_of({"$ref": "#/components/schemas/Node"}, {"Node": model}), dict)


def test_no_example_opens_anything() -> None:
    text = str(DOCUMENT)
    assert "ph_shown-this-once" in text and "whsec_shown-this-once" in text
    assert TestClient(create_app(cast(Any, None), cast(Any, None))).get("/api/v1/openapi.json").status_code == 401
