"""EE2's rarer methods: the concierge's jobs, jobs that are held, and sizes that are still to be decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packhorse.api.kbase.ee2 import METHODS
from packhorse.domain.config import EstimatesConfig
from packhorse.domain.resources import Estimates
from tests.fixtures.kbase import NOBODY, KBaseServer, KBaseServices, RpcFailure, kbase_server, make_module

#: Every ``funcdef`` of ``execution_engine2.spec``, and whether it is open to all.
SPEC = {
    "ver": True, "status": True, "list_config": True, "get_client_groups": True, "run_job": False,
    "run_job_batch": False, "run_job_concierge": False, "retry_job": False, "retry_jobs": False,
    "abandon_children": False, "get_job_params": False, "update_job_status": False, "add_job_logs": False,
    "get_job_logs": False, "finish_job": False, "start_job": False, "check_job": False, "check_job_batch": False,
    "check_jobs": False, "check_workspace_jobs": False, "cancel_job": False, "check_job_canceled": False,
    "get_job_status": False, "check_jobs_date_range_for_user": False, "check_jobs_date_range_for_all": False,
    "handle_held_job": False, "is_admin": False, "get_admin_permission": False,
}  # fmt: skip


def test_every_method_is_there_and_open_to_whom_it_should() -> None:
    assert {name: method.is_open for name, method in METHODS.items()} == SPEC


# --- the concierge ------------------------------------------------------------


def test_the_concierge_asks_for_what_only_admins_may(server: KBaseServer) -> None:
    who = server.add_user("kbaseconcierge")
    job = {"method": "Tester.add", "params": [1], "app_id": "Tester/add"}
    started = server.call("run_job_concierge", job, {"request_cpu": 2, "request_memory": 300}, user=who)
    state = server.call("check_job", {"job_id": started}, user=who)
    assert state["job_input"]["requirements"] == {"clientgroup": "concierge", "cpu": 2, "memory": 300, "disk": None}
    own = server.call("run_job_concierge", job, {"request_cpus": "1", "client_group": "njs"}, user=who)
    asked = server.call("check_job", {"job_id": own}, user=who)["job_input"]["requirements"]
    assert (asked["clientgroup"], asked["cpu"]) == ("njs", 1)
    usual = server.call("run_job_concierge", job, {}, user="alice")
    assert server.call("check_job", {"job_id": usual})["job_input"]["requirements"]["clientgroup"] == "njs"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"request_cpus": 0}, "Found illegal request_cpus request '0' in concierge parameters"),
        ({"request_memory": "2G"}, "Found illegal request_memory request '2G' in concierge parameters"),
        ({"client_group": 7}, "client_group in concierge parameters must be a name"),
        ({"requirements_list": "a=b"}, "requirements_list must be a list"),
        ({"requirements_list": ["machine"]}, "Found illegal requirement in requirements_list: machine"),
        (
            {"requirements_list": ["machine=worker102"]},
            "'scheduler_requirements' are words of another scheduler's, which nobody reads here.",
        ),
        ([1], "concierge_params must be a mapping"),
    ],
)
def test_what_the_concierge_cannot_ask_for(asked: Any, told: str, server: KBaseServer) -> None:
    who = server.add_user("kbaseconcierge")
    with pytest.raises(RpcFailure) as failure:
        server.call("run_job_concierge", {"method": "Tester.add"}, asked, user=who)
    assert failure.value.message == told


def test_nobody_else_is_the_concierge(shared: KBaseServer) -> None:
    for user in ("alice", "root"):
        with pytest.raises(RpcFailure) as failure:
            shared.call("run_job_concierge", {"method": "Tester.add"}, {"request_cpu": 1}, user=user)
        assert failure.value.message == "You are not the concierge user. This method is not for you"
    with pytest.raises(RpcFailure, match="doesn't have permission to run jobs in workspace 2"):
        shared.call("run_job_concierge", {"method": "Tester.add", "wsid": 2}, {"request_cpu": 1})


# --- jobs that are held ------------------------------------------------------------


def test_a_held_job_is_in_error_and_one_that_is_over_stays(server: KBaseServer) -> None:
    job, done = server.run("add", 1), server.run("add", 2)
    output = {"version": "1.1", "id": done, "result": [2]}
    server.call("finish_job", {"job_id": done, "job_output": output})
    held, over = (server.call("check_job", {"job_id": one})["scheduler_id"] for one in (job, done))
    told = server.call("handle_held_job", held, user="root")
    assert (told["_id"], told["status"], told["error_code"], told["errormsg"]) == (job, "error", 2, "Job was held")
    message = "Job was terminated by automation due to an unexpected error. Please resubmit."
    assert told["error"] == {"code": 2, "name": "Job was held", "message": message, "error": message}
    lines = server.call("get_job_logs", {"job_id": job})["lines"]
    assert (message, 1) in [(line["line"], line["is_error"]) for line in lines]
    assert server.call("handle_held_job", over, user="root")["status"] == "completed"
    assert server.call("handle_held_job", held, user="root")["status"] == "error", "once more changes nothing"


@pytest.mark.parametrize("cluster", ["1234.0", "r-0123456789abcdef.0", "", NOBODY, 7, None, "\0"])
def test_a_cluster_id_of_nobody(cluster: Any, server: KBaseServer) -> None:
    with pytest.raises(RpcFailure, match=r"^Cluster id of"):
        server.call("handle_held_job", cluster, user="root")


def test_only_an_admin_handles_held_jobs(server: KBaseServer) -> None:
    held = server.call("check_job", {"job_id": server.run("add", 1)})["scheduler_id"]
    with pytest.raises(RpcFailure) as failure:
        server.call("handle_held_job", held)
    assert failure.value.message == "User alice is not an admin, and may not act as one."


# --- sizes ------------------------------------------------------------


def test_a_job_whose_size_is_to_be_decided_is_estimating(tmp_path: Path) -> None:
    estimates = EstimatesConfig(mode=Estimates.ON)
    make_module(tmp_path / "catalog", "Sized")
    manifest = tmp_path / "catalog" / "sized-all" / "app.yaml"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "resources": {"ram_gb": 1}}))
    with kbase_server(tmp_path / "home", estimates=estimates) as server:
        job = server.call("run_job", {"method": "Sized.add", "params": [1, 2], "app_id": "Sized/add"})
        state = server.call("check_job", {"job_id": job})
        assert state["status"] == "estimating" and state["estimating"] == state["created"] and "queued" not in state
        assert server.call("get_job_status", {"job_id": job}) == {"status": "estimating"}
        assert server.call("check_job", {"job_id": server.run("add", 1)})["status"] == "queued", "it has no size"
        assert server.call("update_job_status", {"job_id": job, "status": "queued"}) == job
        with server.room.run_engine():
            state = server.wait(job)
        assert (state["status"], state["job_output"]["result"]) == ("completed", [3])
        assert "queued" in state and "estimating" not in state


def test_nothing_is_estimating_where_nothing_is_decided(tmp_path: Path, services: KBaseServices) -> None:
    services.groups = {"Tester.add": ["njs", "request_memory=100"]}
    with kbase_server(tmp_path / "home", catalog_url=services.endpoint) as server:
        assert server.call("check_job", {"job_id": server.run("add", 1)})["status"] == "queued"
