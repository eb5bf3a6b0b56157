"""EE2's methods, by their names: kbase/execution_engine2, ``execution_engine2.spec``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from packhorse import __version__
from packhorse.api.kbase.wire import Method, RpcService, said
from packhorse.engine.requests.kbase.service import KBase, KBaseCaller

SERVICE = "execution_engine2"


def service_status(_: KBase) -> dict[str, Any]:
    return {
        "git_commit": __version__,
        "version": __version__,
        "service": "KBase Execution Engine",
        "server_time": time.time(),
    }


def list_config(kbase: KBase) -> dict[str, str]:
    """What runners are told of the services."""
    told = kbase.config.services()
    return {
        "external-url": told["external_url"],
        "kbase-endpoint": told["kbase_endpoint"],
        "workspace-url": told["workspace_url"],
        "catalog-url": kbase.config.catalog or "",
        "shock-url": told["shock_url"],
        "handle-url": told["handle_url"],
        "srv-wiz-url": told["srv_wiz_url"],
        "auth-service-url": told["auth_service_url"],
        "auth-service-url-v2": told["auth_service_url-v2"],
        "auth-service-url-allow-insecure": told["auth_service_url_allow_insecure"],
        "scratch": "/kb/module/work/tmp",
        "ref_data_base": str(kbase.config.reference_data or ""),
    }


def client_groups(kbase: KBase) -> list[str]:
    """The names of those that are configured."""
    return list(dict.fromkeys([kbase.config.default_client_group, *kbase.config.client_groups]))


def _of_mapping(call: Callable[[KBaseCaller, Any], Any], **how: Any) -> Method:
    """A method that takes one mapping."""
    return Method(lambda caller, value: call(caller, said(value)), **how)


METHODS = {
    "ver": Method(lambda _: __version__, (0,), is_open=True),
    "status": Method(service_status, (0,), is_open=True),
    "list_config": Method(list_config, (0,), is_open=True),
    "run_job": _of_mapping(KBaseCaller.run_job, changes=True),
    "run_job_concierge": Method(
        lambda caller, job, asked: caller.run_job_concierge(said(job), asked), (2,), changes=True
    ),
    "run_job_batch": Method(lambda caller, jobs, batch=None: caller.run_job_batch(jobs, batch), (1, 2), changes=True),
    "retry_job": _of_mapping(KBaseCaller.retry_job, changes=True),
    "retry_jobs": _of_mapping(KBaseCaller.retry_jobs, changes=True),
    "abandon_children": _of_mapping(KBaseCaller.abandon_children, changes=True),
    "get_job_params": _of_mapping(KBaseCaller.get_job_params),
    "start_job": _of_mapping(KBaseCaller.start_job, is_void=True, changes=True),
    "update_job_status": _of_mapping(KBaseCaller.update_job_status, changes=True),
    "finish_job": _of_mapping(KBaseCaller.finish_job, is_void=True, changes=True),
    "handle_held_job": Method(KBaseCaller.handle_held_job, changes=True),
    "check_job": _of_mapping(KBaseCaller.check_job),
    "check_jobs": _of_mapping(KBaseCaller.check_jobs),
    "check_job_batch": _of_mapping(KBaseCaller.check_job_batch),
    "check_workspace_jobs": _of_mapping(KBaseCaller.check_workspace_jobs),
    "add_job_logs": Method(lambda caller, value, lines: caller.add_job_logs(said(value), lines), (2,), changes=True),
    "get_job_logs": _of_mapping(KBaseCaller.get_job_logs),
    "cancel_job": _of_mapping(KBaseCaller.cancel_job, is_void=True, changes=True),
    "check_job_canceled": _of_mapping(KBaseCaller.check_job_canceled),
    "get_job_status": _of_mapping(KBaseCaller.get_job_status),
    "check_jobs_date_range_for_user": _of_mapping(
        lambda caller, value: caller.check_jobs_date_range(value, for_all=False)
    ),
    "check_jobs_date_range_for_all": _of_mapping(
        lambda caller, value: caller.check_jobs_date_range(value, for_all=True)
    ),
    "is_admin": Method(KBaseCaller.is_admin, (0,)),
    "get_admin_permission": Method(KBaseCaller.get_admin_permission, (0,)),
    "get_client_groups": Method(client_groups, (0,), is_open=True),
}

ee2 = RpcService(SERVICE, METHODS)
