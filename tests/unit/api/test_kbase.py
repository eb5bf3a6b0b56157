"""EE2's door over a real service on SQLite, without an engine: what is said, word by word, and who may ask what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.api.kbase.ee2 import METHODS
from tests.fixtures.kbase import KBaseServer, KBaseServices, RpcFailure, kbase_server, make_module

NOBODY = "0123456789abcdef01234567"
PATH = "/services/ee2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KBaseServer]:
    with kbase_server(tmp_path / "home") as made:
        yield made


@pytest.fixture
def services() -> Iterator[KBaseServices]:
    made = KBaseServices({})
    yield made
    made.close()


@pytest.fixture
def shared(tmp_path: Path, services: KBaseServices) -> Iterator[KBaseServer]:
    """With KBase's services: alice may write in workspace 1 and read in 2, bob may read in 1; 3 is for all to read."""
    with kbase_server(
        tmp_path / "home", endpoint=None, workspace_url=services.endpoint, catalog_url=services.endpoint
    ) as made:
        services.tokens = {token: name for name, token in made.tokens.items()}
        services.permissions = {1: {"alice": "a", "bob": "r"}, 2: {"alice": "r"}, 3: {"*": "r"}, 4: {"carol": "a"}}
        yield made


def error_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["version"] == "1.1" and set(document) == {"version", "id", "error"}
    assert set(document["error"]) == {"code", "name", "message", "error"}
    return dict(document["error"])


# --- the wire ------------------------------------------------------------


def test_what_needs_no_token(server: KBaseServer) -> None:
    assert server.call("ver", user=None)
    status = server.call("status", user=None)
    assert (
        set(status) == {"git_commit", "version", "service", "server_time"}
        and abs(status["server_time"] - time.time()) < 60
    )
    assert server.call("list_config", user=None)["scratch"] == "/kb/module/work/tmp"
    body = {"version": "1.1", "method": "execution_engine2.ver", "params": [], "id": 3}
    for path in (PATH, f"{PATH}/", f"{PATH}/rpc/any"):
        assert server.post(body, None, path).json()["id"] == 3


def test_without_a_token_and_with_a_wrong_one(server: KBaseServer) -> None:
    for name, method in METHODS.items():
        if method.is_open:
            continue
        body = {"version": "1.1", "method": f"execution_engine2.{name}", "params": [{}] * min(method.counts), "id": "1"}
        error = error_of(server.post(body, None))
        told = "Authentication required for execution_engine2 but no authentication header was passed"
        assert (error["code"], error["name"], error["message"]) == (-32000, "Server error", told), name
        error = error_of(server.post(body, "not a token"))
        assert error["code"] == -32000 and error["message"].startswith("Token validation failed: "), name


def test_pages_of_other_origins_may_ask(server: KBaseServer) -> None:
    asked = {"Access-Control-Request-Headers": "authorization,content-type", "Origin": "https://narrative.example"}
    answer = server.http.options(PATH, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert server.post({"version": "1.1"}).headers["access-control-allow-origin"] == "*"


MALFORMED = {
    "no JSON": (b"{", -32700),
    "nothing": (b"", -32700),
    "not UTF-8": (b'{"method": "\xff"}', -32700),
    "twice": (b'{"id": 1, "id": 2}', -32700),
    "deep": (b"[" * 100_000, -32700),
    "a list": (b"[]", -32600),
    "a number": (b"7", -32600),
    "no version": (b'{"method": "execution_engine2.ver", "params": [], "id": "1"}', -32600),
    "2.0": (b'{"version": "2.0", "method": "execution_engine2.ver", "params": [], "id": "1"}', -32600),
    "no method": (b'{"version": "1.1", "params": [], "id": "1"}', -32600),
    "a method of numbers": (b'{"version": "1.1", "method": 7, "params": [], "id": "1"}', -32600),
    "unknown": (b'{"version": "1.1", "method": "execution_engine2.rm", "params": [], "id": "1"}', -32601),
    "another's": (b'{"version": "1.1", "method": "Workspace.ver", "params": [], "id": "1"}', -32601),
    "by name": (b'{"version": "1.1", "method": "execution_engine2.ver", "params": {"a": 1}, "id": "1"}', -32602),
    "too many": (b'{"version": "1.1", "method": "execution_engine2.ver", "params": [1], "id": "1"}', -32602),
    "too few": (b'{"version": "1.1", "method": "execution_engine2.run_job", "params": [], "id": "1"}', -32602),
    "no mapping": (b'{"version": "1.1", "method": "execution_engine2.run_job", "params": [[]], "id": "1"}', -32000),
    "nulls": (b'{"version": "1.1", "method": "execution_engine2.check_job", "params": [null], "id": "1"}', -32000),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_makes_no_sense_is_told_as_an_error(case: str, server: KBaseServer) -> None:
    body, code = MALFORMED[case]
    error = error_of(server.post(body))
    assert error["code"] == code and error["message"] and "Traceback" not in error["error"]


def test_who_has_no_token_cannot_send_much(server: KBaseServer) -> None:
    body = json.dumps({"version": "1.1", "method": "execution_engine2.ver", "params": [], "id": "x" * 100_000}).encode()
    assert "larger than 64,000 bytes" in error_of(server.post(body, None))["message"]
    assert "larger than 64,000,000 bytes" in error_of(server.post(b" " * 64_000_001))["message"]


ODD = st.sampled_from(
    [None, 7, -1, 1.5, True, "", "'; DROP TABLE runs; --", "$(id)", "\0", "\ud800", [], [[]], {}, {"a": 1}, 1 << 70]
)
FIELDS = (
    "job_id", "job_ids", "wsid", "workspace_id", "method", "params", "skip_lines", "limit", "status", "exclude_fields",
    "start_time", "filter", "user", "batch_id", "child_job_ids", "terminated_code", "job_output", "error_code",
    "as_admin", "job_requirements", "meta", "source_ws_objects",
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(METHODS)), odd=st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=3))
def test_odd_values_break_nothing(server: KBaseServer, name: str, odd: dict[str, Any]) -> None:
    """Each is refused in words, or taken for what it is."""
    usual = {"job_id": server.any, "job_ids": [server.any], "workspace_id": 1, "method": "Tester.add"}
    params: list[Any] = [{**usual, "start_time": 0, "end_time": 1, **odd}, [odd]][: max(METHODS[name].counts)]
    answer = server.post({"version": "1.1", "method": f"execution_engine2.{name}", "params": params, "id": "1"})
    if answer.status_code != 200:
        assert "Something broke" not in error_of(answer)["message"]


# --- jobs ------------------------------------------------------------


def test_refusals_of_run_job(server: KBaseServer) -> None:
    told = {
        "Unrecognized method: 'Mf'. Please input module_name.function_name": {"method": "Mf"},
        "Missing input parameter: method ID": {},
        "There is no app for the method 'Nobody.runs' here.": {"method": "Nobody.runs"},
        "In order to specify job requirements you must be a full admin": {
            "method": "Tester.add",
            "job_requirements": {"request_cpus": 2},
        },
        "User alice is not an admin, and may not act as one.": {"method": "Tester.add", "as_admin": 1},
        "wsid must be an integer > 0": {"method": "Tester.add", "wsid": "one"},
    }
    for message, asked in told.items():
        with pytest.raises(RpcFailure) as failure:
            server.call("run_job", asked)
        assert failure.value.message == message and failure.value.code == -32000
    with pytest.raises(
        RpcFailure, match=r"no version '7654321' of the method 'Tester.add' here: there is 1234567890abcdef"
    ):
        server.run("add", service_ver="7654321")
    for version in ("release", "1234567890abcdef1234567890abcdef12345678", "1234567", "0.0.1"):
        assert server.run("add", service_ver=version)


def test_ids_that_are_none_and_those_of_nobody(server: KBaseServer) -> None:
    job = server.run("add", 1)
    other = f"{int(job[:8], 16) - 1:08x}{job[8:]}"  # the same task with another second
    for method in ("check_job", "get_job_logs", "cancel_job", "get_job_params", "check_job_canceled", "get_job_status"):
        with pytest.raises(RpcFailure) as failure:
            server.call(method, {"job_id": "xx"})
        told = "'xx' is not a valid ObjectId, it must be a 12-byte input or a 24-character hex string"
        assert failure.value.message == told
        for unknown in (NOBODY, other, "f" * 24):
            with pytest.raises(RpcFailure) as failure:
                server.call(method, {"job_id": unknown})
            assert failure.value.message == f"Cannot find job with ids: ['{unknown}']", method
    told = server.call("check_jobs", {"job_ids": [job, NOBODY], "return_list": 0})
    assert told[job]["status"] == "queued"
    assert told[NOBODY] == {"failure": f"Cannot find job with ids: ['{NOBODY}']", "check_job_error": True}


def test_fields_are_left_out_and_states_are_listed(server: KBaseServer) -> None:
    job = server.run("add", 1)
    fields = [
        "authstrat",
        "condor_job_ads",
        "retry_saved_toggle",
        "scheduler_type",
        "scheduler_id",
        "updated",
        "job_input",
    ]
    state = server.call("check_job", {"job_id": job, "exclude_fields": fields})
    assert not set(fields) & set(state) and state["status"] == "queued"
    assert server.call("check_jobs", {"job_ids": [job], "exclude_fields": fields}) == {"job_states": [state]}
    assert server.call("check_jobs", {"job_ids": [job], "exclude_fields": fields, "return_list": 0}) == {job: state}
    assert server.call("check_jobs", {"job_ids": []}) == {}
    with pytest.raises(RpcFailure, match=f"Cannot find job log with id: {NOBODY}"):
        server.kbase.of_caller(server.room.user, "").kbase.logs.page(1, 0, None, lambda: _missing(NOBODY))


def _missing(job: str) -> Any:
    return RpcFailure({"name": "", "code": 0, "message": f"Cannot find job log with id: {job}", "error": ""})


def test_a_batch_is_one_run_and_its_jobs_are_its_tasks(server: KBaseServer) -> None:
    make_module(server.room.home.parent / "catalog", "Other")
    time.sleep(2.1)  # the registry looks at the catalogue again
    jobs = [
        {"method": f"{module}.add", "params": [index], "app_id": f"{module}/add"}
        for index, module in enumerate(["Tester", "Other"] * 3)
    ]
    told = server.call("run_job_batch", jobs, {"wsid": 5, "meta": {"run_id": "r", "cell_id": "c"}})
    batch, children = told["batch_id"], told["child_job_ids"]
    assert len(set(children)) == 6 and batch not in children
    parent = server.call("check_job", {"job_id": batch})
    assert (parent["batch_job"], parent["child_jobs"], parent["wsid"], parent["status"]) == (
        True,
        children,
        5,
        "queued",
    )
    assert parent["job_input"]["narrative_cell_info"] == {"run_id": "r", "cell_id": "c"}
    states = server.call("check_jobs", {"job_ids": children, "return_list": 0})
    assert list(states) == children
    assert [state["job_input"]["params"] for state in states.values()] == [[index] for index in range(6)]
    assert {(state["batch_id"], state["batch_job"], state["wsid"]) for state in states.values()} == {(batch, False, 5)}
    listed = server.call("check_workspace_jobs", {"workspace_id": "5", "return_list": 0})
    assert set(listed) == {batch, *children} and listed[batch]["child_jobs"] == children
    whole = server.call("check_job_batch", {"job_id": batch})
    assert whole["batch_jobstate"] == parent and [one["job_id"] for one in whole["child_jobstates"]] == children
    assert len(server.room.service.as_user(server.room.user).runs().items) == 1
    server.call("cancel_job", {"job_id": batch, "terminated_code": 1})
    states = server.call("check_jobs", {"job_ids": [batch, *children], "return_list": 0})
    assert {(state["status"], state["terminated_code"]) for state in states.values()} == {("terminated", 1)}


def test_refusals_of_batches_and_retries(server: KBaseServer) -> None:
    job = {"method": "Tester.add", "app_id": "Tester/add"}
    with pytest.raises(RpcFailure) as failure:
        server.call("run_job_batch", [{**job, "wsid": 1}], {})
    assert failure.value.message == "Workspace ids are not allowed in RunJobParams in Batch Mode"
    with pytest.raises(RpcFailure, match="Job #2: Unrecognized method: 'Mf'"):
        server.call("run_job_batch", [job, {"method": "Mf"}], {})
    assert server.call("check_workspace_jobs", {"workspace_id": 1}) == {}, "nothing of it was accepted"
    batch = server.call("run_job_batch", [job], {"wsid": 1})
    with pytest.raises(RpcFailure) as failure:
        server.call("retry_job", {"job_id": batch["batch_id"]})
    assert failure.value.message == "Cannot retry batch job parents. Must retry individual jobs"
    child = batch["child_job_ids"][0]
    [told, unknown] = server.call("retry_jobs", {"job_ids": [child, NOBODY]})
    assert told["job_id"] == child and told["error"].startswith(f"Error retrying job {child} with status queued")
    assert unknown == {"job_id": NOBODY, "error": f"Cannot find job with ids: ['{NOBODY}']"}
    with pytest.raises(RpcFailure, match="Retry of the same id in the same request is not supported"):
        server.call("retry_jobs", {"job_ids": [child, child]})


def test_a_retry_of_a_child_is_a_child(server: KBaseServer) -> None:
    jobs = [
        {
            "method": "Tester.add",
            "params": [index],
            "app_id": "Tester/add",
            "job_requirements": {"request_cpus": 2, "request_memory": 300},
        }
        for index in range(2)
    ]
    batch = server.call("run_job_batch", jobs, {"wsid": 1}, user="root")
    first, second = batch["child_job_ids"]
    server.call("cancel_job", {"job_id": first}, user="root")
    retry = server.call("retry_job", {"job_id": first}, user="root")
    again = retry["retry_id"]
    states = server.call("check_jobs", {"job_ids": [batch["batch_id"], first, again], "return_list": 0}, user="root")
    assert states[batch["batch_id"]]["child_jobs"] == [first, second, again]
    assert (states[first]["retry_ids"], states[first]["retry_count"], states[first]["retry_saved_toggle"]) == (
        [again],
        1,
        False,
    )
    assert (states[again]["retry_parent"], states[again]["retry_saved_toggle"]) == (first, True)
    assert states[again]["batch_id"] == batch["batch_id"] and states[again]["status"] == "queued"
    assert states[again]["job_input"] == states[first]["job_input"]
    assert states[again]["job_input"]["requirements"] == {"clientgroup": "njs", "cpu": 2, "memory": 300, "disk": None}
    server.call("cancel_job", {"job_id": again}, user="root")
    third = server.call("retry_jobs", {"job_ids": [again]}, user="root")[0]["retry_id"]
    state = server.call("check_job", {"job_id": third}, user="root")
    assert (state["retry_parent"], state["batch_id"]) == (first, batch["batch_id"])
    left = server.call("abandon_children", {"batch_id": batch["batch_id"], "child_job_ids": [first]}, user="root")
    assert left == {"batch_id": batch["batch_id"], "child_job_ids": [second, again, third]}
    assert server.call("check_job", {"job_id": first}, user="root")["batch_id"] is None


def test_jobs_by_the_time_when_they_were_made(server: KBaseServer) -> None:
    begin = time.time() - 1
    jobs = [server.run("add", index, wsid=index + 1) for index in range(3)]
    server.run("add", 7, user="bob")
    asked = {"start_time": begin, "end_time": time.time() + 5}
    told = server.call("check_jobs_date_range_for_user", asked)
    assert [state["job_id"] for state in told["jobs"]] == jobs
    assert (told["count"], told["query_count"], told["sort_order"], told["limit"]) == (3, 3, "+", 2000)
    assert told["stats"]["user"] == {"alice": 3} and told["stats"]["status"] == {"queued": 3}
    page = server.call(
        "check_jobs_date_range_for_user", {**asked, "limit": 1, "offset": 1, "ascending": 0, "projection": ["wsid"]}
    )
    assert [(state["wsid"], "user" in state) for state in page["jobs"]] == [(2, False)] and page["query_count"] == 3
    found = server.call("check_jobs_date_range_for_user", {**asked, "filter": ["wsid=3"]})
    assert [state["job_id"] for state in found["jobs"]] == jobs[2:]
    with pytest.raises(RpcFailure, match="not authorized to view all records or records for others"):
        server.call("check_jobs_date_range_for_user", {**asked, "user": "bob"})
    with pytest.raises(RpcFailure, match="not authorized"):
        server.call("check_jobs_date_range_for_all", asked)
    assert server.call("check_jobs_date_range_for_all", asked, user="root")["query_count"] == 4


# --- who may ---------------------------------------------------------------


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


# --- logs --------------------------------------------------------------------


def test_a_hundred_thousand_lines_at_once(server: KBaseServer) -> None:
    job = server.run("add")
    lines = [{"line": f"line {number}", "is_error": number % 2} for number in range(100_000)]
    assert server.call("add_job_logs", {"job_id": job}, lines)["line_number"] == 100_000
    page = server.call("get_job_logs", {"job_id": job, "skip_lines": 99_990, "limit": 5})
    assert [line["line"] for line in page["lines"]] == [f"line {number}" for number in range(99_990, 99_995)]
    assert [line["linepos"] for line in page["lines"]] == list(range(99_990, 99_995))
    assert page["last_line_number"] == 99_995 and page["count"] >= 100_000
    whole, skip = [], 0
    while page := server.call("get_job_logs", {"job_id": job, "offset": skip}):
        whole += page["lines"]
        skip = page["last_line_number"]
        if not page["lines"]:
            break
    assert [line["line"] for line in whole[:100_000]] == [line["line"] for line in lines]
    with pytest.raises(RpcFailure, match="200,001 lines come at once; the limit is 200,000"):
        server.call("add_job_logs", {"job_id": job}, [{"line": ""}] * 200_001)
    with pytest.raises(RpcFailure, match="Line 1 of the log has no 'line'"):
        server.call("add_job_logs", {"job_id": job}, [{"line": ""}, {"text": "x"}])


def test_a_line_of_any_length_and_with_any_letters(server: KBaseServer) -> None:
    job = server.run("add")
    server.call("add_job_logs", {"job_id": job}, [{"line": "x" * 200_000}, {"line": "é\0\ud800"}])
    page = server.call("get_job_logs", {"job_id": job})
    assert "".join(line["line"] for line in page["lines"][:4]) == "x" * 200_000
    assert page["lines"][4]["line"] == "é\ufffd\ufffd"
