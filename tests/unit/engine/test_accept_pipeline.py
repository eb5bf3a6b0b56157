"""Runs of pipelines: whatever is right by itself is accepted, and what rows say is told in the pipeline's terms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.pipelinecheck import check_pipeline
from packhorse.domain.run import AppRun
from packhorse.engine.requests.accept import Accepted, Requester, SubmittedApp
from packhorse.engine.requests.accept_pipeline import accept_pipeline_run
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.history import FromHistory
from packhorse.sites.site import local_site
from tests.unit.domain.pipelines import MANY, manifest_of, pipelines

SITE = local_site("/nowhere", cores=2, memory_mb=4000)
APPS = {"many@1": SubmittedApp(MANY, "digest")}
OVER = {"over": "rows", "app": "many@1", "params": {"v": "of {sample}"}}


def _no_history(*asked: Any) -> dict[str, FromHistory]:
    return {}


def accept(steps: dict[str, dict[str, Any]], rows: list[dict[str, Any]], **options: Any) -> Accepted:
    request, by = AppRun(app="p", **options), Requester("r-1", "ada", FileRules(), [SITE])
    return accept_pipeline_run(request, manifest_of(steps), APPS, rows, by, _no_history)


@given(pipelines(), st.integers(1, 3))
def test_a_pipeline_without_problems_is_accepted_over_any_table(steps: dict[str, dict[str, Any]], rows: int) -> None:
    manifest = manifest_of(steps)
    if check_pipeline(manifest, {"many@1": MANY}):
        return
    has_rows = any(step.over == "rows" for step in manifest.steps.values())
    table: list[dict[str, Any]] = (
        [{"sample": f"a{number}"} for number in range(rows)] if has_rows else [{"sample": "a"}]
    )
    accepted = accept(steps, table)
    assert [step.name for step in accepted.steps] == list(steps)
    for name, step in zip(steps, accepted.steps, strict=True):
        root = manifest.root(name)
        assert step.number == (1 if root is None else len(table) if root == "rows" else None)
        assert len(list(step.tasks())) == (step.number or 0)
    assert (accepted.app, accepted.name) == ("p@1", "p")


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ([{"colour": "red"}, {"sample": "b"}], {}, ["row 1: unknown parameter 'colour'.", "row 1: parameter 'sample'"]),
        ([{"sample": "a"}], {"params": {"colour": "red"}}, ["common parameters: unknown parameter 'colour'."]),
        ([], {}, []),
        ([{"sample": "a"}], {"gather": False}, []),
    ],
)
def test_what_is_wrong_with_rows_is_told_by_row(
    rows: list[dict[str, Any]], options: dict[str, Any], says: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        accept({"a": OVER}, rows, **options)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == len(says) and all(one.startswith(start) for one, start in zip(told, says, strict=True))
    assert says or caught.value.hint or "no rows" in caught.value.message


def test_what_is_said_of_a_run_goes_over_what_the_pipeline_says_of_a_step() -> None:
    steps = {"a": {**OVER, "resources": {"cpu_cores": 2, "ram_gb": 1}}, "b": {"app": "many@1"}}
    accepted = accept(steps, [{"sample": "x"}], resources={"cpu_cores": 1})
    assert [one.spec.resources for one in accepted.steps] == [{"cpu_cores": 1, "ram_gb": 1}, {"cpu_cores": 1}]
    with pytest.raises(InvalidRequest, match="step 'a': no site can run it: it asks for 64 cores and 'local' has 2"):
        accept(steps, [{"sample": "x"}], resources={"cpu_cores": 64})


def test_an_empty_value_is_no_value_and_a_common_one_stands_in() -> None:
    accepted = accept({"a": OVER}, [{"sample": "x"}, {"sample": None}], params={"sample": "y"})
    assert [task.params for task in accepted.steps[0].tasks()] == ['{"v":"of x"}', '{"v":"of y"}']


def test_no_two_rows_may_have_the_same_value_of_what_is_unique() -> None:
    manifest = manifest_of({"a": OVER}).model_dump(by_alias=True)
    manifest["parameters"]["sample"]["unique"] = True
    request, by = AppRun(app="p"), Requester("r-1", "ada", FileRules(), [SITE])
    with pytest.raises(InvalidRequest) as caught:
        rows = [{"sample": name} for name in "abca"]
        accept_pipeline_run(request, PipelineManifest.model_validate(manifest), APPS, rows, by, _no_history)
    told = "row 4, parameter 'sample': 'a' is in row 1 already; no two rows may have the same."
    assert [str(problem) for problem in caught.value.problems] == [told]
    common = AppRun(app="p", params={"sample": "x"})
    with pytest.raises(InvalidRequest, match="row 2, parameter 'sample': 'x' is in row 1 already"):
        accept_pipeline_run(common, PipelineManifest.model_validate(manifest), APPS, [{}, {}], by, _no_history)
