"""NarrativeJobService's apps of several jobs, and its rarer methods, without an engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from packhorse.api.kbase.older import NJS
from tests.fixtures.kbase import NOBODY, KBaseServer, RpcFailure, make_module

#: Every ``funcdef`` of ``NJSWrapper.spec``, with those of the time when it ran apps.
SPEC = {
    "ver", "status", "list_config", "run_job", "get_job_params", "update_job", "add_job_logs", "get_job_logs",
    "finish_job", "check_job", "check_jobs", "list_job_statuses", "cancel_job", "check_job_canceled", "run_app",
    "check_app_state", "suspend_app", "resume_app", "delete_app", "list_running_apps",
}  # fmt: skip


def njs(server: KBaseServer, method: str, *params: Any, user: str = "alice") -> Any:
    return server.call(method, *params, user=user, path="/services/njs_wrapper", service="NarrativeJobService")


def step(name: str, *values: Any, module: str = "Tester", **more: Any) -> dict[str, Any]:
    service = {"service_name": module, "method_name": "add", "service_url": "", "service_version": "release"}
    common = {"type": "service", "service": service, "is_long_running": 1, "method_spec_id": f"{module}/add"}
    return {"step_id": name, **common, "input_values": list(values), **more}


def finish(server: KBaseServer, job: str, result: Any) -> None:
    server.call("finish_job", {"job_id": job, "job_output": {"version": "1.1", "id": job, "result": [result]}})


def test_every_method_is_there() -> None:
    assert set(NJS.methods) == SPEC


def test_the_steps_of_an_app_wait_for_each_other(server: KBaseServer) -> None:
    make_module(server.room.home.parent / "catalog", "Other")
    time.sleep(2.1)  # the registry looks at the catalogue again
    steps = [step("first", 1), step("second", 2, module="Other"), step("third", 3)]
    state = njs(server, "run_app", {"name": "three", "steps": steps})
    app, jobs = state["job_id"], state["step_job_ids"]
    assert (state["job_state"], state["running_step_id"], state["is_deleted"]) == ("queued", "first", 0)
    assert state["original_app"] == {"name": "three", "steps": steps}
    assert len({app, *jobs.values()}) == 4 and list(jobs) == ["first", "second", "third"]
    assert [one["job_id"] for one in njs(server, "list_running_apps")] == [app]
    finish(server, jobs["first"], {"sum": 1})
    state = njs(server, "check_app_state", app)
    assert (state["job_state"], state["running_step_id"]) == ("in-progress", "second")
    assert state["step_outputs"] == {"first": '[{"sum":1}]'} and state["submit_time"].endswith("Z")
    finish(server, jobs["second"], 2)
    finish(server, jobs["third"], 3)
    state = njs(server, "check_app_state", app)
    assert state["job_state"] == "completed" and "running_step_id" not in state and state["complete_time"]
    assert set(state["step_stats"]["third"]) >= {"creation_time", "finish_time"}
    assert njs(server, "list_running_apps") == [], "it is over"
    whole = server.call("check_job_batch", {"job_id": app})
    assert [one["job_id"] for one in whole["child_jobstates"]] == list(jobs.values())


def test_a_step_that_fails_ends_the_app(server: KBaseServer) -> None:
    state = njs(server, "run_app", {"steps": [step("first", 1), step("second", 2)]})
    app, jobs = state["job_id"], state["step_job_ids"]
    server.call("finish_job", {"job_id": jobs["first"], "error_message": "it broke"})
    state = njs(server, "check_app_state", app)
    assert (state["job_state"], state["running_step_id"]) == ("suspend", "first")
    assert state["step_errors"] == {"first": "it broke"} and state["step_outputs"] == {}
    assert server.call("check_job", {"job_id": jobs["second"]})["status"] == "error"


def test_an_app_of_one_step_is_its_job(server: KBaseServer) -> None:
    state = njs(server, "run_app", {"steps": [step("only", 1)]})
    app = state["job_id"]
    assert state["step_job_ids"] == {"only": app}
    assert server.call("check_job", {"job_id": app})["batch_job"] is False
    with pytest.raises(RpcFailure, match="This function is not supported for service calling APPs"):
        njs(server, "suspend_app", app)
    with pytest.raises(RpcFailure, match="does not have permission to read"):
        njs(server, "check_app_state", app, user="bob")
    assert njs(server, "delete_app", app) == f"App {app} was marked for deletion"
    state = njs(server, "check_app_state", app)
    assert (state["job_state"], state["is_deleted"]) == ("suspend", 1)


WRONG: dict[str, tuple[Any, str]] = {
    "no mapping": ([], "The app must be a mapping with 'steps'"),
    "no steps": ({"steps": []}, "The app has no steps"),
    "a nameless step": ({"steps": [{}]}, "A step of the app has no 'step_id'"),
    "a script": ({"steps": [step("a", type="script")]}, "Unsupported type for step [a]: script"),
    "no service": ({"steps": [step("a", service=None)]}, "The step [a] has no 'service'"),
    "a short call": (
        {"steps": [step("a", is_long_running=0)]},
        "The step [a] is a call of a service, and here steps are jobs of modules",
    ),
    "another service": (
        {"steps": [step("a", service={"service_name": "S", "method_name": "m", "service_url": "https://x.org"})]},
        "The step [a] is a call of a service, and here steps are jobs of modules",
    ),
    "parameters": (
        {"steps": [step("a", input_values=None, parameters=[{"label": "x", "step_source": "b"}])]},
        "The step [a] has 'parameters', of which no job can be made",
    ),
    "twice": ({"steps": [step("a"), step("a")]}, "Two steps of the app are called [a]"),
    "values": ({"steps": [step("a", input_values="x")]}, "'params' must be a list"),
    "no method": ({"steps": [step("a", service={})]}, "Missing input parameter: method ID"),
    "nobody's": (
        {"steps": [step("a"), step("b", module="Nobody")]},
        "There is no app for the method 'Nobody.add' here.",
    ),
    "many": ({"steps": [step(str(place)) for place in range(1001)]}, "The app has 1,001 steps; the limit is 1,000."),
    "long names": ({"steps": [step("x" * 300_000)]}, "The names of the app's steps are too long."),
}


@pytest.mark.parametrize("case", WRONG)
def test_apps_that_are_refused(case: str, server: KBaseServer) -> None:
    app, told = WRONG[case]
    with pytest.raises(RpcFailure) as failure:
        njs(server, "run_app", app)
    assert failure.value.message == told
    assert njs(server, "list_running_apps") == [], "nothing of it was accepted"


def test_jobs_that_are_no_apps(server: KBaseServer) -> None:
    job = server.run("add", 1)
    for method in ("check_app_state", "delete_app"):
        with pytest.raises(RpcFailure, match="Information is not available"):
            njs(server, method, job)
        with pytest.raises(RpcFailure, match="Cannot find job with ids"):
            njs(server, method, NOBODY)
    app = njs(server, "run_app", {"steps": [step("a"), step("b")]})
    with pytest.raises(RpcFailure, match="Information is not available"):
        njs(server, "check_app_state", app["step_job_ids"]["a"])


def test_a_job_is_updated_and_a_workspace_is_listed(server: KBaseServer) -> None:
    job = server.run("add", 1, wsid=7)
    assert njs(server, "update_job", {"job_id": job, "is_started": 1}) == {"messages": []}
    assert njs(server, "update_job", {"job_id": job}) == {"messages": []}
    states: Mapping[str, Any] = {one["job_id"]: one for one in [njs(server, "list_job_statuses", "7")[0]]}
    assert list(states) == [job] and states[job]["job_state"] == "queued"
    with pytest.raises(RpcFailure, match="does not have permission to write"):
        njs(server, "update_job", {"job_id": job}, user="bob")
