"""The services before EE2: NarrativeJobService, and UserAndJobState as far as it tells of jobs and their progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packhorse import __version__
from packhorse.api.kbase.ee2 import list_config, service_status
from packhorse.api.kbase.wire import Method, RpcService, said
from packhorse.domain.errors import InvalidRequest
from packhorse.engine.requests.kbase.njs import NjsCaller, cannot_pause
from packhorse.engine.requests.kbase.ujs import UjsCaller

_CHANGES = {"is_void": True, "changes": True}


def _njs(call: Callable[..., Any], *counts: int, **how: Any) -> Method:
    """A method of NJS's layer over EE2's."""
    return Method(lambda caller, *params: call(NjsCaller(caller), *params), counts or (1,), **how)


def _ujs(call: Callable[..., Any], *counts: int, **how: Any) -> Method:
    """The same of UJS's."""
    return Method(lambda caller, *params: call(UjsCaller(caller), *params), counts or (1,), **how)


def _refused(number: int, message: str, hint: str) -> Method:
    """A method that is known, and not done here, with so many parameters."""

    def refuse(*_: Any) -> Any:
        raise InvalidRequest(message, hint=hint)

    return Method(refuse, (number,), changes=True)


def _njs_params(caller: NjsCaller, job: Any) -> tuple[Any, ...]:
    return caller.get_job_params(job)


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
        "get_job_params": _njs(_njs_params, is_several=True),
        "update_job": _njs(lambda caller, value: caller.update_job(said(value)), changes=True),
        "add_job_logs": Method(
            lambda caller, job, lines: caller.add_job_logs({"job_id": job}, lines)["line_number"], (2,), changes=True
        ),
        "get_job_logs": Method(lambda caller, value: caller.get_job_logs(said(value))),
        "finish_job": _njs(lambda caller, job, value: caller.finish_job(job, said(value)), 2, **_CHANGES),
        "check_job": _njs(NjsCaller.check_job),
        "check_jobs": _njs(lambda caller, value: caller.check_jobs(said(value))),
        "list_job_statuses": _njs(NjsCaller.list_job_statuses),
        "cancel_job": Method(lambda caller, value: caller.cancel_job(said(value)), is_void=True, changes=True),
        "check_job_canceled": Method(lambda caller, value: {**caller.check_job_canceled(said(value)), "ujs_url": ""}),
        "run_app": _njs(NjsCaller.run_app, changes=True),
        "check_app_state": _njs(NjsCaller.check_app_state),
        "delete_app": _njs(NjsCaller.delete_app, changes=True),
        "suspend_app": _njs(cannot_pause, changes=True),
        "resume_app": _njs(cannot_pause, changes=True),
        "list_running_apps": _njs(NjsCaller.list_running_apps, 0),
    },
)

_NO_JOB = "Jobs that only report are not kept here: a job is made by run_job, which runs it"
_RUN = "Call run_job of execution_engine2 or NarrativeJobService, and report its progress by update_job_progress."
_NO_KEYS = "Values under keys of one's own are not kept here"
_OTHERS = "Keep them with the service that they belong to."
_NO_SHARE = "A job cannot be shared by itself: who may read its workspace sees it"
_SHARE = "Run it in a workspace (wsid) and share that one; or share its run ('packhorse share RUN user:NAME')."
_NO_DELETE = "A job is not deleted by hand: the server forgets it in its time"
_CANCEL = "'cancel_job' ends one that is not over."

UJS = RpcService(
    "UserAndJobState",
    {
        "ver": Method(lambda _: __version__, (0,), is_open=True),
        "create_job": _refused(0, _NO_JOB, _RUN),
        "create_job2": _refused(1, _NO_JOB, _RUN),
        "create_and_start_job": _refused(5, _NO_JOB, _RUN),
        "start_job": _ujs(UjsCaller.start, 6, **_CHANGES),
        "update_job_progress": _ujs(UjsCaller.update, 5, **_CHANGES),
        "update_job": _ujs(
            lambda caller, job, token, status, est: caller.update(job, token, status, None, est), 4, **_CHANGES
        ),
        "complete_job": _ujs(UjsCaller.complete, 5, **_CHANGES),
        "cancel_job": _ujs(UjsCaller.cancel, 2, **_CHANGES),
        "get_job_status": _ujs(UjsCaller.status, is_several=True),
        "get_job_description": _ujs(UjsCaller.description, is_several=True),
        "get_results": _ujs(UjsCaller.results),
        "get_detailed_error": _ujs(UjsCaller.error),
        "get_job_info2": _ujs(UjsCaller.info),
        "get_job_info": _ujs(lambda caller, job: caller.info(job, old=True)),
        "get_job_owner": _ujs(UjsCaller.owner),
        "get_job_shared": _ujs(UjsCaller.shared),
        "list_jobs": _ujs(UjsCaller.jobs, 2),
        "list_jobs2": _ujs(lambda caller, value: caller.jobs2(said(value))),
        "list_job_services": _ujs(UjsCaller.services, 0),
        "share_job": _refused(2, _NO_SHARE, _SHARE),
        "unshare_job": _refused(2, _NO_SHARE, _SHARE),
        "delete_job": _refused(1, _NO_DELETE, _CANCEL),
        "force_delete_job": _refused(2, _NO_DELETE, _CANCEL),
        "set_state": _refused(3, _NO_KEYS, _OTHERS),
        "set_state_auth": _refused(3, _NO_KEYS, _OTHERS),
        "remove_state": _refused(2, _NO_KEYS, _OTHERS),
        "remove_state_auth": _refused(2, _NO_KEYS, _OTHERS),
        "get_state": _ujs(lambda _, *key: UjsCaller.get_state(*key), 3),
        "has_state": Method(lambda _, *key: 0, (3,)),
        "get_has_state": Method(lambda _, *key: (0, None), (3,), is_several=True),
        "list_state": Method(lambda _, *key: [], (2,)),
        "list_state_services": Method(lambda _, authed: [], (1,)),
    },
)
