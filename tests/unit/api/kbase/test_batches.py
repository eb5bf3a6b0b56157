"""Batches of jobs, and their retries."""

from __future__ import annotations

import time

import pytest

from tests.fixtures.kbase import NOBODY, KBaseServer, RpcFailure, make_module


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
    ends = {one: (state["status"], state["terminated_code"]) for one, state in states.items()}
    assert ends == {batch: ("terminated", 1), **dict.fromkeys(children, ("terminated", 3))}


def test_refusals_of_batches_and_retries(server: KBaseServer) -> None:
    job = {"method": "Tester.add", "app_id": "Tester/add"}
    with pytest.raises(RpcFailure) as failure:
        server.call("run_job_batch", [{**job, "wsid": 1}], {})
    assert failure.value.message == "Workspace ids are not allowed in RunJobParams in Batch Mode"
    with pytest.raises(RpcFailure, match="Job #2: Unrecognized method: 'Mf'"):
        server.call("run_job_batch", [job, {"method": "Mf"}], {})
    with pytest.raises(RpcFailure) as failure:
        server.call("run_job_batch", [job, {**job, "parent_job_id": NOBODY}], {})
    assert failure.value.message == "Job #2: batch jobs may not specify a parent job ID"
    assert server.call("check_workspace_jobs", {"workspace_id": 1}) == {}, "nothing of it was accepted"
    batch = server.call("run_job_batch", [job], {"wsid": 1})
    with pytest.raises(RpcFailure) as failure:
        server.call("retry_job", {"job_id": batch["batch_id"]})
    assert failure.value.message == "Cannot retry batch job parents. Must retry individual jobs"
    child = batch["child_job_ids"][0]
    [told, unknown] = server.call("retry_jobs", {"job_ids": [child, NOBODY]})
    why = f"Error retrying job {child} with status queued: can only retry jobs with status 'error' or 'terminated'"
    assert told == {"job_id": child, "error": why}
    with pytest.raises(RpcFailure, match=r"^No job_ids provided to retry$"):
        server.call("retry_jobs", {"job_ids": []})
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
