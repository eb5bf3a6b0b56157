"""NarrativeJobService and UserAndJobState over EE2's methods, on SQLite, without an engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.api.auth import Tokens
from packhorse.api.kbase.ee2 import ee2
from packhorse.api.kbase.older import NJS, UJS
from packhorse.domain.errors import InvalidRequest, NotAllowed
from packhorse.domain.run import AppRun
from packhorse.domain.users import User
from packhorse.identity.tokens import NewToken
from tests.fixtures.kbase import KBaseServer, RpcFailure, kbase_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KBaseServer]:
    with kbase_server(tmp_path_factory.mktemp("older") / "home") as made:
        yield made


def njs(server: KBaseServer, method: str, *params: Any, user: str = "alice") -> Any:
    return server.call(method, *params, user=user, path="/services/njs_wrapper", service="NarrativeJobService")


def ujs(server: KBaseServer, method: str, *params: Any, user: str = "alice") -> Any:
    return server.call(method, *params, user=user, path="/services/userandjobstate", service="UserAndJobState")


def test_njs_runs_and_tells_of_jobs(server: KBaseServer) -> None:
    assert njs(server, "ver") and njs(server, "list_config") and njs(server, "status")["git_commit"]
    job = njs(server, "run_job", {"method": "Tester.add", "params": [1], "service_ver": "release", "app_id": "a/b"})
    state = njs(server, "check_job", job)
    assert (state["job_id"], state["finished"], state["job_state"], state["canceled"]) == (job, 0, "queued", 0)
    assert state["status"][1:4] == ["created", "queued", None] and state["status"][5:] == [0, 0]
    asked, config = njs(server, "get_job_params", job)
    assert (asked["method"], asked["params"], asked["app_id"], config) == ("Tester.add", [1], "a/b", {})
    assert njs(server, "add_job_logs", job, [{"line": "one", "is_error": 0}]) == 1
    lines = njs(server, "get_job_logs", {"job_id": job, "skip_lines": 0})
    assert lines["lines"][0]["line"] == "one"
    nobody = "0" * 24
    told = njs(server, "check_jobs", {"job_ids": [job, nobody], "with_job_params": 1})
    assert list(told["job_states"]) == [job] and told["job_params"][job]["method"] == "Tester.add"
    assert told["check_error"][nobody]["message"] == f"Cannot find job with ids: ['{nobody}']"
    njs(server, "cancel_job", {"job_id": job})
    assert njs(server, "check_job_canceled", {"job_id": job}) == {
        "job_id": job,
        "finished": True,
        "canceled": True,
        "ujs_url": "",
    }
    assert njs(server, "check_job", job)["job_state"] == "suspend"
    with pytest.raises(RpcFailure, match="does not have permission to write"):
        njs(server, "add_job_logs", job, [], user="bob")


def test_njs_takes_results_and_errors(server: KBaseServer) -> None:
    good, bad, gone = (server.run("add", index) for index in range(3))
    njs(server, "finish_job", good, {"result": [{"ref": "1/2/3"}]})
    state = njs(server, "check_job", good)
    assert (state["finished"], state["job_state"], state["result"]) == (1, "completed", [{"ref": "1/2/3"}])
    error = {"code": -32601, "name": "N", "message": "it broke", "error": "trace"}
    njs(server, "finish_job", bad, {"error": error})
    state = njs(server, "check_job", bad)
    assert (state["finished"], state["error"], state["status"][1], state["status"][5:]) == (1, error, "error", [1, 1])
    njs(server, "finish_job", gone, {"is_cancelled": 1})
    assert njs(server, "check_job", gone)["canceled"] == 1


def test_ujs_tells_of_progress_and_results(server: KBaseServer) -> None:
    job = server.run("add", 1, meta={"cell_id": "c"})
    ujs(
        server,
        "start_job",
        job,
        "token",
        "begun",
        "adds numbers",
        {"ptype": "task", "max": 4},
        "2030-01-01T00:00:00+0000",
    )
    ujs(server, "update_job_progress", job, "token", "one done", 1, None)
    ujs(server, "update_job_progress", job, "token", "three done", 2, None)
    ujs(server, "update_job", job, "token", "nearly", None)
    last, stage, status, progress, est, complete, error = ujs(server, "get_job_status", job)
    assert (stage, status, progress, est, complete, error) == ("created", "nearly", 3, "2030-01-01T00:00:00+0000", 0, 0)
    assert last.endswith("+0000")
    assert ujs(server, "get_job_description", job)[:4] == ["packhorse", "task", 4, "adds numbers"]
    results = {"workspaceids": ["1"], "shocknodes": [], "results": []}
    ujs(server, "complete_job", job, "token", "done", None, results)
    assert ujs(server, "get_results", job) == results
    assert ujs(server, "get_job_status", job)[1:] == ["completed", "done", 4, "2030-01-01T00:00:00+0000", 1, 0]
    info = ujs(server, "get_job_info2", job)
    assert (info[0], info[1], info[3], info[6], info[7], info[9], info[10]) == (
        job, ["alice", None], "completed", [4, 4, "task"], 1, ["DEFAULT", "DEFAULT"], {"cell_id": "c"},
    )  # fmt: skip
    assert len(info) == 13 and info[11:] == ["adds numbers", results]
    assert ujs(server, "get_job_info", job)[12:] == ["adds numbers", results]
    assert ujs(server, "get_job_owner", job) == "alice" and ujs(server, "get_job_shared", job) == []
    other = server.run("add", 1)
    ujs(server, "complete_job", other, "token", "broken", "a traceback", None)
    assert ujs(server, "get_detailed_error", other) == "a traceback"
    for wrong in ("x" * 201, 7):
        with pytest.raises(RpcFailure, match="The status"):
            ujs(server, "update_job", other, "token", wrong, None)
    with pytest.raises(RpcFailure, match="No read permissions"):
        ujs(server, "get_job_status", job, user="bob")


def test_other_doors_leave_jobs_of_kbase_to_this_one(server: KBaseServer) -> None:
    job = server.run("add", 1)
    with pytest.raises(InvalidRequest, match="runs a method of KBase"):
        server.room.mine.submit(AppRun(app="tester-all"))
    server.call("cancel_job", {"job_id": job})
    run = server.call("check_job", {"job_id": job})["scheduler_id"].partition(".")[0]
    with pytest.raises(InvalidRequest, match="are retried one by one"):
        server.room.mine.retry(run)


ODD = st.sampled_from(
    [None, 7, -1, True, "", "x" * 300, "\0", [], [1], {}, {"result": 1}, {"error": 7}, {"ptype": "x"}]
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(service=st.sampled_from([NJS, UJS]), data=st.data())
def test_odd_values_break_nothing(server: KBaseServer, service: Any, data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(service.methods)))
    method = service.methods[name]
    params = [server.any, *(data.draw(ODD) for _ in range(max(method.counts)))][: max(method.counts)]
    if data.draw(st.booleans()):
        params = [data.draw(ODD) for _ in params]
    path = "/services/njs_wrapper" if service is NJS else "/services/userandjobstate"
    body = {"version": "1.1", "method": f"{service.name}.{name}", "params": params, "id": "1"}
    answer = server.post(body, path=path).json()
    assert "error" not in answer or "Something broke" not in answer["error"]["message"], (name, params)


def test_a_token_opens_what_it_has_a_scope_for(server: KBaseServer) -> None:
    """Every method of every service that needs a token asks the policy."""
    tokens = Tokens(server.room.database)
    for scopes, wanted in ((["read"], "submit"), ([], "read")):
        server.tokens["narrow"] = tokens.make(NewToken(user="alice", scopes=scopes or ["admin"])).token
        for path, service in (
            ("/services/ee2", ee2),
            ("/services/njs_wrapper", NJS),
            ("/services/userandjobstate", UJS),
        ):
            for name, method in service.methods.items():
                if method.is_open or (wanted == "submit" and not method.changes):
                    continue
                with pytest.raises(RpcFailure, match="does not have the scope"):
                    server.call(name, *[{}] * min(method.counts), user="narrow", path=path, service=service.name)


def test_a_read_only_admin_sees_everybodys_jobs_and_changes_none(server: KBaseServer) -> None:
    job = server.run("add", 1)
    caller = server.kbase.of_caller(User("reader", sees_all=True), "")
    assert caller.check_job({"job_id": job, "as_admin": 1})["job_id"] == job
    assert caller.get_admin_permission() == {"permission": "r"}
    for call in (caller.cancel_job, caller.start_job, caller.finish_job):
        with pytest.raises(NotAllowed, match="may not act as one"):
            call({"job_id": job, "as_admin": 1})
