"""What a pipeline is compiled to. What is accepted of that: tests/unit/engine/test_accept_pipeline.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.manifest import PipelineFile, parse_any
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.pipelinecheck import check_pipeline
from packhorse.domain.pipelinerun import compile_steps, fill, table_problems
from packhorse.domain.run import StepRun, check_steps
from tests.unit.domain.pipelines import GOOD, MANY, manifest_of, pipelines


def good() -> PipelineManifest:
    file = parse_any(GOOD, "app.yaml")
    assert isinstance(file, PipelineFile)
    return file.manifest


def test_a_manifest_reads_back_as_it_was() -> None:
    assert PipelineManifest.model_validate(good().as_json()) == good()


def test_a_pipeline_over_a_table_is_a_document_of_steps() -> None:
    rows = [{"sample": "a", "reads": "/a.fq"}, {"sample": "b", "reads": "/b.fq", "depth": 5}]
    steps = compile_steps(good(), {"genome": "/g.fa", "depth": 2}, rows)
    said = [{name: value for name, value in step.items() if value not in ({}, [], "", False)} for step in steps]
    assert said == [
        {"name": "index", "app": "./index", "params": {"genome": "/g.fa"}},
        {
            "name": "align", "app": "align@1", "inputs": {"index": "index.folder"},
            "over": [{"sample": "a", "reads": "/a.fq", "depth": 2}, {"sample": "b", "reads": "/b.fq", "depth": 5}],
        },
        {
            "name": "count", "app": "count@1", "each": ["align"], "inputs": {"bam": "align.bam", "log": "align.log"},
            "over": [{"label": "of a"}, {"label": "of b"}],
        },
        {"name": "split", "app": "split@1"},
        {"name": "search", "app": "search@1", "items": "split", "item": "part", "inputs": {"folder": "split.parts"}},
        {
            "name": "matrix", "app": "matrix@1", "gather": ["count", "search"], "results": "rows",
            "accept_failures": True, "resources": {"cpu_cores": 2},
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "value"),
    [("{n}", 3), ("{f}", 0.5), ("{no}", None), ("n{n}-{f}", "n3-0.5"), ("{{n}}", "{n}"), ("-{no}-", "--"), (7, 7)],
)
def test_a_name_alone_is_the_value_itself_and_within_text_it_is_text(said: Any, value: Any) -> None:
    assert fill(said, {"n": 3, "f": 0.5}) == value


def test_a_column_that_a_step_with_one_task_uses_is_refused_and_so_is_a_table_that_nothing_is_over() -> None:
    [told] = table_problems(good(), ["sample", "genome"], 2)
    assert str(told).startswith("the table, column 'genome': step 'index' uses it, which has no task of its own")
    alone = PipelineManifest.model_validate(
        {"packhorse": 1, "name": "p", "version": "1", "steps": {"a": {"app": "a@1"}}}
    )
    assert [str(one) for one in table_problems(alone, [], 2)] == [
        "the table: no step of 'p' has a task for each row of it. Run it without one; values are given with --set."
    ]
    assert table_problems(alone, [], 1) == []


@given(pipelines(), st.integers(1, 3))
def test_whatever_has_no_circle_and_no_problem_compiles_with_its_edges_as_declared(
    steps: dict[str, dict[str, Any]], rows: int
) -> None:
    manifest = manifest_of(steps)
    findings = check_pipeline(manifest, {"many@1": MANY})
    assert all("many tasks" in one.what for one in findings)
    if findings:
        return
    run = StepRun.model_validate({"steps": compile_steps(manifest, {}, [{"sample": f"a{n}"} for n in range(rows)])})
    assert check_steps(run.steps) == []
    for name, step in zip(steps, run.steps, strict=True):
        declared = manifest.steps[name]
        assert (step.name, step.gather, step.inputs) == (name, declared.gather, declared.inputs)
        assert set(step.needs) == set(declared.needs)
        assert declared.each is None or declared.each in step.each
        assert (step.items is None) == (declared.over_list is None)
        assert len(step.over or []) in (0, rows)
        assert all(manifest.root(other) == manifest.root(name) for other in step.each)
