"""Apps of NarrativeJobService: several jobs, one after the other. Pure.

Source: kbase/njs_wrapper as it was when it still ran apps (``NJSWrapper.spec``, ``RunAppBuilder``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.kbase import OVER, JobRequest, Status, job_request, truth
from packhorse.domain.text import dumps, value_problem

MAX_STEPS = 1000
_MAX_KEPT = 200_000  # characters of what is kept of an app beside its jobs
_KEPT = ("step_id", "type", "service", "is_long_running", "method_spec_id")


@dataclass(frozen=True, slots=True)
class App:
    """``kept`` is what is remembered of it: all but the values of its steps, which their jobs have."""

    kept: dict[str, Any]
    requests: list[JobRequest]


def app_of(document: Any) -> App:
    """An app that is to be run. Raises InvalidRequest, TooLarge."""
    if not isinstance(document, Mapping):
        raise InvalidRequest("The app must be a mapping with 'steps'")
    if why := value_problem(dict(document), "app"):
        raise InvalidRequest(f"{why}.")
    steps = document.get("steps")
    if not isinstance(steps, list) or not steps:
        raise InvalidRequest("The app has no steps")
    if len(steps) > MAX_STEPS:
        raise TooLarge(f"The app has {len(steps):,} steps; the limit is {MAX_STEPS:,}.")
    requests = [_request(step) for step in steps]
    names = [step["step_id"] for step in steps]
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise InvalidRequest(f"Two steps of the app are called [{twice[:100]}]")
    kept_steps = [{name: step[name] for name in _KEPT if step.get(name) is not None} for step in steps]
    kept = {"name": str(document.get("name") or "")[:200], "steps": kept_steps}
    if len(dumps(kept)) > _MAX_KEPT:
        raise TooLarge("The names of the app's steps are too long.")
    return App(kept, requests)


def _request(step: Any) -> JobRequest:
    """The job of one step."""
    if not isinstance(step, Mapping) or not isinstance(step.get("step_id"), str) or not step["step_id"]:
        raise InvalidRequest("A step of the app has no 'step_id'")
    where = f"step [{step['step_id'][:100]}]"
    if step.get("type") != "service":
        raise InvalidRequest(f"Unsupported type for {where}: {str(step.get('type'))[:60]}")
    service = step.get("service")
    if not isinstance(service, Mapping):
        raise InvalidRequest(f"The {where} has no 'service'")
    if service.get("service_url") or not truth(step.get("is_long_running")):
        hint = "Give it 'is_long_running': 1 and an empty 'service_url', or call the service yourself."
        raise InvalidRequest(f"The {where} is a call of a service, and here steps are jobs of modules", hint=hint)
    values = step.get("input_values")
    if values is None and step.get("parameters"):
        hint = "Give its values as 'input_values', as its method takes them."
        raise InvalidRequest(f"The {where} has 'parameters', of which no job can be made", hint=hint)
    name, function = service.get("service_name"), service.get("method_name")
    return job_request(
        {
            "method": f"{name}.{function}" if name else function,
            "params": values,
            "service_ver": service.get("service_version"),
            "app_id": step.get("method_spec_id"),
        }
    )


def app_state(job: str, app: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """NJS's app_state, of the JobStates of its steps, in their order."""
    names = [step["step_id"] for step in app["steps"]]
    steps = list(zip(names, jobs, strict=True))
    statuses = [Status(state["status"]) for state in jobs]
    bad = [name for name, status in zip(names, statuses, strict=True) if status in OVER - {Status.COMPLETED}]
    left = [name for name, status in zip(names, statuses, strict=True) if status is not Status.COMPLETED]
    begun = any(status is Status.RUNNING or status in OVER for status in statuses)
    word = "suspend" if bad else "completed" if not left else "in-progress" if begun else "queued"
    found: dict[str, Any] = {
        "job_id": job,
        "job_state": word,
        "step_outputs": {name: dumps(_result(state)) for name, state in steps if state["status"] == Status.COMPLETED},
        "step_errors": {name: _error(state) for name, state in steps if name in bad[:1]},
        "step_job_ids": {name: state["job_id"] for name, state in steps},
        "step_stats": {name: _stats(state) for name, state in steps},
        "is_deleted": int(Status.TERMINATED in statuses),
        "original_app": {**app, "steps": [_as_said(*one) for one in zip(app["steps"], jobs, strict=True)]},
        "submit_time": _time(jobs[0]["created"]),
    }
    if left:
        found["running_step_id"] = (bad or left)[0]
    if started := [state["running"] for state in jobs if "running" in state]:
        found["start_time"] = _time(min(started))
    if all(status in OVER for status in statuses):
        found["complete_time"] = _time(max(state.get("finished", state["updated"]) for state in jobs))
    return found


def _as_said(step: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    return {**step, "input_values": state["job_input"]["params"]}


def _result(state: Mapping[str, Any]) -> Any:
    return (state.get("job_output") or {}).get("result")


def _error(state: Mapping[str, Any]) -> str:
    told = state.get("error") or {}
    return str(told.get("error") or told.get("message") or state.get("errormsg") or state["status"])


def _stats(state: Mapping[str, Any]) -> dict[str, int]:
    names = {"created": "creation_time", "running": "exec_start_time", "finished": "finish_time"}
    return {theirs: state[ours] for ours, theirs in names.items() if ours in state}


def _time(ms: int) -> str:
    """As NJS writes times."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
