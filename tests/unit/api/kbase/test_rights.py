"""Who may do what with jobs, what they may ask for, and which services of KBase say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.kbase import KBaseServer, KBaseServices, RpcFailure, kbase_server


def test_rights_come_from_workspaces(shared: KBaseServer, services: KBaseServices) -> None:
    with pytest.raises(RpcFailure) as failure:
        shared.run("add", wsid=2)
    assert failure.value.message == "User alice doesn't have permission to run jobs in workspace 2."
    with pytest.raises(RpcFailure, match="doesn't have permission to run jobs in workspace 9"):
        shared.run("add", wsid=9)
    job = shared.run("add", wsid=1)
    assert shared.call("check_job", {"job_id": job}, user="bob")["user"] == "alice"
    with pytest.raises(RpcFailure, match=f"User bob does not have permission to write job {job}"):
        shared.call("cancel_job", {"job_id": job}, user="bob")
    own = shared.run("add")
    told = shared.call("check_jobs", {"job_ids": [job, own], "return_list": 0}, user="bob")
    assert told[job]["status"] == "queued"
    assert told[own] == {"failure": f"No read permissions for {own}", "check_job_error": True}
    assert shared.call("check_job", {"job_id": own}, user="bob") == told[own]
    assert list(shared.call("check_workspace_jobs", {"workspace_id": 1, "return_list": 0}, user="bob")) == [job]
    with pytest.raises(RpcFailure) as failure:
        shared.call("check_workspace_jobs", {"workspace_id": 2}, user="bob")
    assert failure.value.message == "User bob does not have permission to read jobs in workspace 2"
    assert shared.call("check_workspace_jobs", {"workspace_id": 3}, user="bob") == {}
    assert services.asked["Workspace.get_permissions_mass"] < 10, "what was said is remembered"
    with pytest.raises(RpcFailure, match="does not have permission"):
        shared.call("get_job_logs", {"job_id": own}, user="root")
    assert shared.call("get_job_logs", {"job_id": own, "as_admin": True}, user="root")["lines"]
    assert shared.call("check_job", {"job_id": own, "as_admin": 1}, user="root")["job_id"] == own
    with pytest.raises(RpcFailure, match="not an admin"):
        shared.call("check_job", {"job_id": own, "as_admin": 1}, user="bob")
    assert shared.call("is_admin", user="root") == 1 and shared.call("get_admin_permission", user="bob") == {
        "permission": "n"
    }


def test_objects_of_workspaces_are_looked_at(shared: KBaseServer, services: KBaseServices) -> None:
    assert shared.run("add", source_ws_objects=["1/2/3", "3/4"])
    with pytest.raises(RpcFailure) as failure:
        shared.run("add", source_ws_objects=["1/2/3", "4/5/6"])
    assert failure.value.message == "Some workspace object is inaccessible"
    jobs = [
        {"method": "Tester.add", "app_id": "t", "source_ws_objects": ["1/2/3", f"2/{index}"]} for index in range(50)
    ]
    before = services.asked["Workspace.get_object_info3"]
    shared.call("run_job_batch", jobs, {})
    assert services.asked["Workspace.get_object_info3"] == before + 1, "all of a batch are looked at at once"


def test_a_service_that_is_away_is_named_and_the_rest_goes_on(shared: KBaseServer, services: KBaseServices) -> None:
    job = shared.run("add")
    services.away = True
    with pytest.raises(RpcFailure, match=r"The Workspace service of KBase makes no sense now: it answers 503"):
        shared.run("add", wsid=1)
    assert shared.call("check_job", {"job_id": job})["status"] == "queued"


def test_a_service_that_nobody_serves(tmp_path: Path) -> None:
    with kbase_server(tmp_path / "home", workspace_url="http://127.0.0.1:1/ws") as server:
        with pytest.raises(RpcFailure, match="The Workspace service of KBase does not answer"):
            server.run("add", wsid=1)
        assert server.run("add")


def test_requirements_come_from_the_request_then_the_catalogue_then_the_client_group(
    tmp_path: Path, services: KBaseServices
) -> None:
    services.groups = {
        "Tester.add": ["bigmem", "request_cpus=4", "request_memory=2G"],
        "Tester.look": ['{"client_group": "njs"', '"request_cpus": 3}'],
    }
    groups = {"bigmem": {"cpus": 8, "memory_mb": 9000, "disk_gb": 7}, "njs": {"memory_mb": 500}}
    with kbase_server(tmp_path / "home", catalog_url=services.endpoint, client_groups=groups) as server:

        def asked(job: str, user: str = "alice") -> Any:
            return server.call("check_job", {"job_id": job}, user=user)["job_input"]["requirements"]

        services.groups["Tester.add"][1] = "request_cpus=2"
        assert asked(server.run("add")) == {"clientgroup": "bigmem", "cpu": 2, "memory": 2000, "disk": 7}
        assert asked(server.run("fail")) == {"clientgroup": "njs", "cpu": None, "memory": 500, "disk": None}
        own = server.run("add", user="root", job_requirements={"request_cpus": 1, "request_memory": "100"})
        assert asked(own, "root") == {"clientgroup": "bigmem", "cpu": 1, "memory": 100, "disk": 7}
        assert server.call("get_client_groups") == ["njs", "bigmem"]
        with pytest.raises(RpcFailure, match="No site can run it"):
            server.run("add", user="root", job_requirements={"request_cpus": 100_000})
