"""The services before EE2: NarrativeJobService and UserAndJobState, as far as they tell of jobs and their progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packhorse import __version__
from packhorse.api.kbase.ee2 import list_config, service_status
from packhorse.api.kbase.wire import Method, RpcService, said
from packhorse.engine.requests.kbase.older import OlderCaller

_CHANGES = {"is_void": True, "changes": True}


def _older(call: Callable[..., Any], *counts: int, **how: Any) -> Method:
    """A method of the layer over EE2's."""
    return Method(lambda caller, *params: call(OlderCaller(caller), *params), counts or (1,), **how)


def _njs_params(caller: OlderCaller, job: Any) -> tuple[Any, ...]:
    return caller.njs_params(job)


def _status(kbase: Any) -> dict[str, Any]:
    about = {
        "reboot_mode": 0,
        "stopping_mode": 0,
        "running_tasks_total": 0,
        "running_tasks_per_user": {},
        "tasks_in_queue": 0,
    }
    return {**about, "config": list_config(kbase), "git_commit": service_status(kbase)["git_commit"]}


NJS = RpcService(
    "NarrativeJobService",
    {
        "ver": Method(lambda _: __version__, (0,), is_open=True),
        "status": Method(_status, (0,), is_open=True),
        "list_config": Method(list_config, (0,), is_open=True),
        "run_job": Method(lambda caller, value: caller.run_job(said(value)), changes=True),
        "get_job_params": _older(_njs_params, is_several=True),
        "add_job_logs": Method(
            lambda caller, job, lines: caller.add_job_logs({"job_id": job}, lines)["line_number"], (2,), changes=True
        ),
        "get_job_logs": Method(lambda caller, value: caller.get_job_logs(said(value))),
        "finish_job": _older(lambda caller, job, value: caller.njs_finish(job, said(value)), 2, **_CHANGES),
        "check_job": _older(OlderCaller.njs_job),
        "check_jobs": _older(lambda caller, value: caller.njs_jobs(said(value))),
        "cancel_job": Method(lambda caller, value: caller.cancel_job(said(value)), is_void=True, changes=True),
        "check_job_canceled": Method(lambda caller, value: {**caller.check_job_canceled(said(value)), "ujs_url": ""}),
        "list_running_apps": Method(lambda _: [], (0,)),
    },
)

UJS = RpcService(
    "UserAndJobState",
    {
        "ver": Method(lambda _: __version__, (0,), is_open=True),
        "start_job": _older(OlderCaller.ujs_start, 6, **_CHANGES),
        "update_job_progress": _older(OlderCaller.ujs_update, 5, **_CHANGES),
        "update_job": _older(
            lambda caller, job, token, status, est: caller.ujs_update(job, token, status, None, est),
            4,
            is_void=True,
            changes=True,
        ),
        "complete_job": _older(OlderCaller.ujs_complete, 5, **_CHANGES),
        "get_job_status": _older(OlderCaller.ujs_status, is_several=True),
        "get_job_description": _older(OlderCaller.ujs_description, is_several=True),
        "get_results": _older(OlderCaller.ujs_results),
        "get_detailed_error": _older(OlderCaller.ujs_error),
        "get_job_info2": _older(OlderCaller.ujs_info),
        "get_job_info": _older(lambda caller, job: caller.ujs_info(job, old=True)),
        "get_job_owner": _older(OlderCaller.ujs_owner),
        "get_job_shared": _older(OlderCaller.ujs_shared),
    },
)
