"""The metadata of a crate: one graph, whose every reference leads somewhere, whatever others wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from packhorse.report.crate import OUTPUT, RESULTS, TABLE, WORKFLOW, CrateFile, crate_metadata
from packhorse.report.facts import DataFacts, ImageFacts
from tests.fixtures.reports import made_up
from tests.unit.report.test_page import HOSTILE

FILES = [
    CrateFile("run.json", WORKFLOW, "run", "application/json", 2, "0" * 64),
    CrateFile("tables/a.jsonl", TABLE, "values", "application/x-ndjson", 3, "1" * 64, "a"),
    CrateFile("results.jsonl", RESULTS, "results", "application/x-ndjson", 4, "2" * 64),
    CrateFile("outputs/b/3/x y%.txt", OUTPUT, "x y%.txt", "application/octet-stream", 5, "3" * 64, "b"),
]


def metadata(**changes: Any) -> dict[str, dict[str, Any]]:
    facts = replace(made_up(["a", "b"]), **changes)
    graph = json.loads(crate_metadata(facts, FILES, {}))["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    return found


def references(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            yield one["@id"]


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_every_reference_leads_somewhere(said: str) -> None:
    facts = made_up([said, said], said=said)
    text = crate_metadata(facts, FILES, {})
    text.encode()
    graph = json.loads(text)["@graph"]
    known = {entity["@id"] for entity in graph}
    named = {one for entity in graph for name, value in entity.items() for one in references(value)}
    assert {one for one in named - known if not one.startswith("https://")} == set()


def test_files_have_their_sizes_and_checksums_and_names_that_urls_can_have() -> None:
    found = metadata()
    assert found["outputs/b/3/x%20y%25.txt"] == {
        "@id": "outputs/b/3/x%20y%25.txt", "@type": "File", "name": "x y%.txt", "contentSize": "5", "sha256": "3" * 64,
        "encodingFormat": "application/octet-stream", "exampleOfWork": {"@id": "#out-b"},
    }  # fmt: skip
    assert found["#in-a"]["workExample"] == {"@id": "tables/a.jsonl"}


def test_data_is_what_the_run_took_and_what_was_delivered_what_it_left() -> None:
    facts = made_up(["a"])
    facts.steps[0].outputs.examples[:] = [{"url": "s3://b/out put", "size": 7, "sha256": "4" * 64}]
    data = [DataFacts("https://h/in?x=1", "", "s", "5" * 64, 9, 1), DataFacts("file:///etc/x", "", "s", None, None, 1)]
    found = metadata(steps=facts.steps, edges=[], data=data)
    action = found["#r-0123456789abcdef"]
    assert {"@id": "https://h/in?x=1"} in action["object"] and {"@id": "s3://b/out%20put"} in action["result"]
    assert found["s3://b/out%20put"]["sha256"] == "4" * 64
    assert not any("etc" in name for name in found)


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("alpine", ("docker.io", "alpine", None)),
        ("ghcr.io/a/b:1.2", ("ghcr.io", "a/b", "1.2")),
        ("localhost:5000/a", ("localhost:5000", "a", None)),
        ("a/b@sha256:00", ("docker.io", "a/b", None)),
    ],
)
def test_images_have_their_registry_name_tag_and_digest(reference: str, parts: tuple[str, ...]) -> None:
    found = metadata(images=[ImageFacts(reference, "s", f"sha256:{'6' * 64}", 1)])
    [image] = [entity for entity in found.values() if entity["@type"] == "ContainerImage"]
    assert (image["registry"], image["name"], image.get("tag")) == parts and image["sha256"] == "6" * 64


def test_a_run_that_goes_on_has_no_status_yet_and_one_that_failed_says_so() -> None:
    assert "actionStatus" not in metadata(ended_at=None)["#r-0123456789abcdef"]
    action = metadata()["#r-0123456789abcdef"]
    assert action["actionStatus"].endswith("FailedActionStatus") and action["error"] == "1 task did not complete."
