"""Pipelines through the REST API: of the catalogue, and such as come with the request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.pipelines import PIPELINE, write_app
from tests.unit.api.test_api import Server, server

__all__ = ["server"]

TWO = """
    packhorse: 1
    name: two
    version: "3"
    title: Two steps
    parameters:
      n: {type: integer, unique: true}
    steps:
      first: {app: t@1, over: rows, params: {i: "{n}"}}
      second: {app: ./own, each: first, params: {i: "{n}"}}
"""
OWN = "packhorse: 1\nname: own\nversion: '1'\ncommand: [/bin/true]\nparameters:\n  i: {type: integer}\n"
FIRST = {"app": "t@1", "over": "rows", "params": {"i": "{n}"}}
ROWS = [{"n": 1}, {"n": 2}]


@pytest.fixture
def catalogue(server: Server) -> Server:
    folder = server.room.home / "catalog"
    write_app(folder / "two", TWO)
    write_app(folder / "two" / "own", OWN)
    return server


def steps_of(answer: Any) -> dict[str, int]:
    assert answer.status_code == 201, answer.text
    return {step["name"]: step["tasks"] for step in answer.json()["steps"]}


def test_a_pipeline_of_the_catalogue_is_listed_and_run_by_its_name(catalogue: Server) -> None:
    about = catalogue.ask("GET", "/apps/two").json()
    assert (about["title"], list(about["manifest"]["steps"])) == ("Two steps", ["first", "second"])
    answer = catalogue.ask("POST", "/runs", json={"app": "two", "over": ROWS})
    assert steps_of(answer) == {"first": 2, "second": 2} and answer.json()["app"] == "two@3"
    options = {"headers": {"Content-Type": "text/csv"}, "content": "n\n1\n2\n3\n"}
    assert steps_of(catalogue.ask("POST", "/runs/table?app=two@3", **options)) == {"first": 3, "second": 3}
    refused = catalogue.ask("POST", "/runs", json={"app": "two@4", "over": ROWS})
    assert refused.status_code == 404 and "'two' is at version 3 here" in refused.json()["error"]["message"]


def inline(**steps: Any) -> dict[str, Any]:
    pipeline = {"packhorse": 1, "name": "p", "version": "1", "parameters": {"n": {"type": "integer"}}, "steps": steps}
    return {"pipeline": pipeline, "over": ROWS}


def test_a_pipeline_may_come_with_the_request(catalogue: Server) -> None:
    second = {"app": "t@1", "gather": "first", "accept_failures": True, "params": {"i": 5}}
    answer = catalogue.ask("POST", "/runs", json=inline(first=FIRST, second=second))
    assert steps_of(answer) == {"first": 2, "second": 1} and answer.json()["app"] == "p@1"
    batch = catalogue.ask("POST", "/runs:batch", json=[inline(first=FIRST), inline(first={"app": "t@2"})])
    assert [list(one) for one in batch.json()] == [["run", "error"]] * 2
    assert batch.json()[0]["run"]["tasks"] == 2 and batch.json()[1]["error"]["problems"]


@pytest.mark.parametrize(
    ("step", "where", "what"),
    [
        ({"app": "t@1", "over": "rows"}, "field 'steps.first'", "parameter 'i' of the app 't' is not given"),
        ({**FIRST, "colour": 1}, "field 'pipeline.steps.first.colour'", "is not a field that is known here."),
        ({**FIRST, "app": "./own"}, "field 'steps.first.app'", "'./own' names no app: expected NAME@VERSION."),
        ({**FIRST, "app": "t"}, "field 'steps.first.app'", "'t' names no app: expected NAME@VERSION."),
        ({**FIRST, "app": "two@3"}, "field 'steps.first.app'", "'two' is a pipeline, which can be no step of a run."),
        ({**FIRST, "app": "/etc/passwd"}, "field 'steps.first.app'", "There is no app '/etc/passwd'."),
        ({**FIRST, "app": "t@7"}, "field 'steps.first.app'", "There is no app 't@7': 't' is at version 1 here."),
    ],
)
def test_what_is_wrong_with_it_is_told_by_field(catalogue: Server, step: Any, where: str, what: str) -> None:
    refused = catalogue.ask("POST", "/runs", json=inline(first=step))
    assert refused.status_code == 400, refused.text
    [problem] = refused.json()["error"]["problems"]
    assert problem["where"] == where and problem["what"].startswith(what)


def test_a_broken_pipeline_of_the_catalogue_is_told_with_its_line(catalogue: Server) -> None:
    write_app(catalogue.room.home / "catalog" / "broken", PIPELINE)
    refused = catalogue.ask("POST", "/runs", json={"app": "expression", "over": [{"sample": "a"}]})
    problems = refused.json()["error"]["problems"]
    assert refused.status_code == 400 and len(problems) == 4
    assert problems[0]["where"].endswith("broken/app.yaml, line 13, field 'steps.index.app'")
