"""What our OpenAPI says of TES, against the facts of the specification: paths, parameters, fields, types.

The facts are those of openapi/task_execution_service.openapi.yaml, version 1.1.0, of ga4gh/task-execution-schemas; no
text of it is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.tes import ListedState, View
from tests.fixtures.tes import TesServer

PREFIX = "/ga4gh/tes/v1"
OPERATIONS = {
    ("get", "/service-info"): [],
    ("get", "/tasks"): ["name_prefix", "page_size", "page_token", "state", "tag_key", "tag_value", "view"],
    ("post", "/tasks"): [],
    ("get", "/tasks/{id}"): ["id", "view"],
    ("post", "/tasks/{id}:cancel"): ["id"],
}
#: By object: its fields with their types, and which are required in what the server says.
OBJECTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "Task": (
        {
            "id": "string", "state": "enum", "name": "string", "description": "string", "inputs": "array",
            "outputs": "array", "resources": "object", "executors": "array", "volumes": "array", "tags": "object",
            "logs": "array", "creation_time": "string",
        },
        {"executors"},
    ),
    "Input": (
        {
            "name": "string", "description": "string", "url": "string", "path": "string", "type": "enum",
            "content": "string", "streamable": "boolean",
        },
        {"path"},
    ),
    "Output": (
        {
            "name": "string", "description": "string", "url": "string", "path": "string", "path_prefix": "string",
            "type": "enum",
        },
        {"path"},
    ),
    "TesResources": (
        {
            "cpu_cores": "number", "preemptible": "boolean", "ram_gb": "number", "disk_gb": "number", "zones": "array",
            "backend_parameters": "object", "backend_parameters_strict": "boolean",
        },
        set(),
    ),
    "Executor": (
        {
            "image": "string", "command": "array", "workdir": "string", "stdin": "string", "stdout": "string",
            "stderr": "string", "env": "object", "ignore_error": "boolean",
        },
        {"command"},
    ),
    "TaskLog": (
        {
            "logs": "array", "metadata": "object", "start_time": "string", "end_time": "string", "outputs": "array",
            "system_logs": "array",
        },
        {"logs", "outputs"},
    ),
    "ExecutorLog": (
        {
            "start_time": "string", "end_time": "string", "stdout": "string", "stderr": "string",
            "exit_code": "integer",
        },
        {"exit_code"},
    ),
    "OutputFileLog": ({"url": "string", "path": "string", "size_bytes": "string"}, {"url", "path", "size_bytes"}),
    "Tasks": ({"tasks": "array", "next_page_token": "string"}, {"tasks"}),
    "CreatedTask": ({"id": "string"}, {"id"}),
}  # fmt: skip
STATES = {
    "UNKNOWN", "QUEUED", "INITIALIZING", "RUNNING", "PAUSED", "COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED",
    "PREEMPTED", "CANCELING",
}  # fmt: skip


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    server = TesServer(Path(tmp_path_factory.mktemp("home")))
    yield dict(server.http.app.openapi())  # type: ignore[attr-defined]
    server.close()


def types_of(described: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """The types that a field may have, but null."""
    if "$ref" in schema:
        return types_of(described, described["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema or "allOf" in schema:
        some = schema.get("anyOf") or schema["allOf"]
        return {kind for one in some for kind in types_of(described, one)} - {"null"}
    return {"enum"} if "enum" in schema else {schema["type"]}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_is_there_with_its_parameters(described: dict[str, Any], method: str, path: str) -> None:
    operation = described["paths"][PREFIX + path.replace("{id}", "{task_id}")][method]
    names = sorted(one["name"].replace("task_id", "id") for one in operation.get("parameters", ()))
    assert names == OPERATIONS[method, path]
    assert "200" in operation["responses"]


@pytest.mark.parametrize("name", OBJECTS)
def test_every_field_is_there_with_its_type(described: dict[str, Any], name: str) -> None:
    fields, required = OBJECTS[name]
    schema = described["components"]["schemas"][name]
    ours = {field: types_of(described, about) for field, about in schema["properties"].items()}
    assert set(ours) == set(fields), "neither less nor more"
    assert {field: kinds for field, kinds in ours.items() if fields[field] not in kinds} == {}
    assert set(schema.get("required", ())) == required


def test_states_and_views() -> None:
    assert {state.value for state in ListedState} == STATES
    assert [view.value for view in View] == ["MINIMAL", "BASIC", "FULL"]


def test_defaults_of_a_list(described: dict[str, Any]) -> None:
    parameters = {one["name"]: one["schema"] for one in described["paths"][f"{PREFIX}/tasks"]["get"]["parameters"]}
    assert parameters["page_size"]["default"] == 256
    assert parameters["view"]["default"] == "MINIMAL"
