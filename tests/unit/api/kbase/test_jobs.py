"""What EE2 says of jobs, word by word."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fixtures.kbase import NOBODY, KBaseServer, RpcFailure


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


def test_whole_numbers_are_milliseconds_and_others_seconds(server: KBaseServer) -> None:
    now = time.time()
    job = server.run("add", 1)
    begin, end = now - 5, now + 60
    ways: list[tuple[Any, Any]] = [
        (begin, end), (int(begin * 1000), int(end * 1000)), (str(begin), str(end)),
        (str(int(begin * 1000)), str(int(end * 1000))), ("2020-01-01T00:00:00+00:00", "2099-01-01"),
    ]  # fmt: skip
    for first, last in ways:
        told = server.call("check_jobs_date_range_for_user", {"start_time": first, "end_time": last})
        assert [state["job_id"] for state in told["jobs"]] == [job], (first, last)
        assert "retry_saved_toggle" not in told["jobs"][0]
        assert told["stats"]["clientgroup"] == {"njs": 1} and told["stats"]["wsid"] == {"null": 1}
    told = server.call("check_jobs_date_range_for_user", {"start_time": int(begin), "end_time": int(end)})
    assert told["jobs"] == [], "whole seconds are milliseconds of 1970"
