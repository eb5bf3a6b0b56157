"""The builder: it yields the manifest that one would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packhorse.client import Client, Pipeline
from packhorse.client.backends import HttpBackend
from packhorse.domain.errors import InvalidManifest, InvalidRequest
from packhorse.domain.manifest import PipelineFile, parse_any
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.run import PipelineRun
from packhorse.domain.submitted import run_of
from packhorse.domain.views import RunView
from tests.fixtures.pipelines import PIPELINE, SIMILARITY


def expression(folder: str | Path = "/apps") -> Pipeline:
    """The pipeline of tests/fixtures/pipelines.py, in Python."""
    title = "How much of each gene there is in each sample"
    pipeline = Pipeline("expression", "2.1", title=title, folder=folder)
    sample = pipeline.parameter("sample", unique=True)
    reads = pipeline.parameter("reads", "file")
    genome = pipeline.parameter("genome", "file")
    broken = pipeline.parameter("broken", optional=True)
    index = pipeline.step("index", "./index", params={"genome": genome})
    align = pipeline.step(
        "align",
        "./align",
        over=pipeline.rows,
        params={"sample": sample, "reads": reads, "broken": broken},
        inputs={"index": index.output("folder")},
    )
    count = pipeline.step(
        "count", "./count", each=align, params={"sample": sample}, inputs={"bam": align.output("bam")}
    )
    pipeline.step("matrix", "./matrix", gather=count, results="rows", params={"title": "words"})
    return pipeline


def of_text(text: str) -> PipelineManifest:
    found = parse_any(text, "app.yaml")
    assert isinstance(found, PipelineFile)
    return found.manifest


def test_it_yields_the_manifest_that_one_would_write() -> None:
    assert expression().manifest() == of_text(PIPELINE.replace("./", "/apps/"))
    assert of_text(expression().to_yaml()) == expression().manifest()


def test_lists_and_texts() -> None:
    pipeline = Pipeline("similarity", "1.0")
    said = pipeline.parameter("said")
    split = pipeline.step("split", "split@1", params={"said": f"-{said}-"})
    search = pipeline.step(
        "search", "search@1", over=split.output("names"), item="part", inputs={"folder": split.output("parts")}
    )
    pipeline.step("merge", "merge@1", gather=[search], results="all")
    text = SIMILARITY.replace('said: "{said}"', 'said: "-{said}-"')
    for name in ("split", "search", "merge"):
        text = text.replace(f"./{name}", f"{name}@1")
    assert pipeline.manifest() == of_text(text)


def test_what_is_wrong_is_told_by_name() -> None:
    pipeline = Pipeline("p")
    pipeline.parameter("a")
    pipeline.step("s", "a@1")
    with pytest.raises(InvalidRequest, match="has a parameter 'a' already"):
        pipeline.parameter("a")
    with pytest.raises(InvalidRequest, match="has a step 's' already"):
        pipeline.step("s", "b@1")
    pipeline.step("t u", "b@1", resources={"cpu_cores": 1})
    with pytest.raises(InvalidManifest, match="The pipeline is not valid") as caught:
        pipeline.manifest()
    assert "steps" in str(caught.value) and "t u" in str(caught.value)


def test_a_server_is_sent_the_manifest_and_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, Any]] = []

    def again(_self: HttpBackend, path: str, _kind: Any, *, content: bytes, **_: Any) -> RunView:
        sent.append((path, json.loads(content)))
        return RunView.model_construct(id="r-1", tasks=0, counts={}, notes=[])

    monkeypatch.setattr(HttpBackend, "_again", again)
    pipeline = Pipeline("p", "2")
    n = pipeline.parameter("n", "integer")
    pipeline.step("a", "a@1", over=pipeline.rows, params={"i": n})
    with Client("http://127.0.0.1:1", token="ph_t") as client:
        client.run(pipeline, over=({"n": number} for number in (1, 2)), params={"m": 3})
    [(path, body)] = sent
    assert path == "/runs" and (body["over"], body["params"]) == ([{"n": 1}, {"n": 2}], {"m": 3})
    run = run_of(body)
    assert isinstance(run, PipelineRun) and run.pipeline == pipeline.manifest()
