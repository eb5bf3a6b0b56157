"""Jobs of KBase from request to result, run by an engine on this machine."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from packhorse.engine.sealing import Seal
from packhorse.store.schema import kbase_runs
from tests.fixtures.kbase import KBaseServer, RpcFailure, kbase_server
from tests.fixtures.room import wait_for


def test_a_job_runs_and_its_state_tells_all(running: KBaseServer) -> None:
    before = int(time.time()) * 1000
    meta = {"run_id": "r1", "cell_id": "c1", "tag": "release", "token_id": "t1"}
    job = running.run("add", 1, 2, 39, meta=meta)
    assert len(job) == 24 and int(job, 16)
    state = running.wait(job)
    assert state["status"] == "completed" and state["job_output"]["result"] == [42]
    assert (state["job_id"], state["user"], state["wsid"], state["batch_job"]) == (job, "alice", None, False)
    assert before <= state["created"] <= state["running"] <= state["finished"] <= int(time.time() * 1000)
    asked = state["job_input"]
    assert (asked["method"], asked["params"], asked["app_id"]) == ("Tester.add", [1, 2, 39], "Tester/add")
    assert asked["narrative_cell_info"] == meta
    assert asked["service_ver"] == "1234567890abcdef1234567890abcdef12345678"
    assert state["child_jobs"] == state["retry_ids"] == [] and state["retry_count"] == 0
    assert "error" not in state and "terminated_code" not in state


def test_what_the_contract_of_the_sdk_says_is_there(running: KBaseServer) -> None:
    state = running.wait(running.run("look", {"a": [1]}))
    seen = state["job_output"]["result"][0]
    call = seen["call"]
    assert (call["version"], call["method"], call["params"]) == ("1.1", "Tester.look", [{"a": [1]}])
    [entry] = call["context"]["call_stack"]
    assert entry["method"] == "Tester.look" and entry["job_id"] == call["id"] == state["job_id"]
    assert (seen["token"], seen["mode"]) == (running.tokens["alice"], "0o600")
    assert (
        seen["config"].startswith("[global]\nkbase_endpoint = ")
        and "\nscratch = /kb/module/work/tmp\n" in seen["config"]
    )
    assert running.tokens["alice"] not in str(seen["env"])


def test_a_method_that_fails_says_why(running: KBaseServer) -> None:
    state = running.wait(running.run("fail"))
    assert (state["status"], state["error_code"], state["errormsg"]) == ("error", 1, "it went wrong")
    assert state["error"] == {
        "code": -32000,
        "name": "Server error",
        "message": "it went wrong",
        "error": "a traceback",
    }


def test_a_method_that_leaves_nothing_is_in_error(running: KBaseServer) -> None:
    state = running.wait(running.run("nothing"))
    assert (state["status"], state["error_code"]) == ("error", 4)
    assert state["error"]["name"] == "No output generated" and "Check logs" in state["error"]["message"]


def test_a_job_is_canceled(running: KBaseServer) -> None:
    job = running.run("sleep", 600)
    wait_for(lambda: running.call("get_job_status", {"job_id": job}) == {"status": "running"}, 60, "its start")
    assert running.call("check_job_canceled", {"job_id": job}) == {"job_id": job, "finished": False, "canceled": False}
    assert running.call("cancel_job", {"job_id": job, "terminated_code": 2}) is None
    told = running.call("check_job_canceled", {"job_id": job})
    assert told == {"job_id": job, "finished": True, "canceled": True}
    state = running.wait(job)
    assert (state["status"], state["terminated_code"]) == ("terminated", 2) and state["finished"] >= state["created"]
    assert running.call("cancel_job", {"job_id": job, "terminated_code": 0}) is None, "it is over already"
    assert running.call("check_job", {"job_id": job})["terminated_code"] == 2
    with pytest.raises(
        RpcFailure, match=r"You cannot start a job that is not in \['created', 'queued', 'estimating'\]"
    ):
        running.call("start_job", {"job_id": job})


def pages(server: KBaseServer, job: str, limit: int | None = None) -> list[dict[str, Any]]:
    """The whole log of a job, as a client polls it."""
    lines: list[dict[str, Any]] = []
    while True:
        asked = {"job_id": job, "skip_lines": len(lines), **({"limit": limit} if limit else {})}
        page = server.call("get_job_logs", asked)
        assert page["last_line_number"] == len(lines) + len(page["lines"])
        lines += page["lines"]
        if not page["lines"]:
            assert page["count"] == len(lines)
            return lines


def test_a_log_has_what_became_of_the_job_and_what_it_printed(running: KBaseServer) -> None:
    job = running.run("talk", 2500)
    running.wait(job)
    lines = wait_for(
        lambda: (found := pages(running, job, 700))[-1]["line"].startswith("The job is complete") and found
    )
    assert [line["linepos"] for line in lines] == list(range(len(lines)))
    texts = [line["line"] for line in lines]
    assert texts[0].startswith("The job was accepted")
    first = texts.index("line 0")
    assert texts[first : first + 2500] == [f"line {number}" for number in range(2500)]
    assert [line["is_error"] for line in lines if line["line"] == "a warning"] == [1]
    assert texts.index("The job runs.") < first < len(texts) - 1
    assert pages(running, job) == lines, "asked again, by pages of another size, it is the same"


def test_lines_that_are_reported_keep_their_numbers(running: KBaseServer) -> None:
    job = running.run("sleep", 600)
    wait_for(lambda: running.call("get_job_status", {"job_id": job}) == {"status": "running"}, 60, "its start")
    told = running.call(
        "add_job_logs", {"job_id": job}, [{"line": "one", "is_error": 1, "ts": 1700000000000}, {"line": "two"}]
    )
    assert told["success"] is True and told["line_number"] == 2
    lines = pages(running, job)
    assert lines[0] == {"line": "one", "linepos": 0, "is_error": 1, "ts": 1700000000000}
    running.call("add_job_logs", {"job_id": job}, [{"line": "three"}])
    after = pages(running, job)
    assert after[: len(lines)] == lines
    assert "three" in [line["line"] for line in after[len(lines) :]]
    running.call("cancel_job", {"job_id": job})


def test_a_report_and_a_crate_tell_of_jobs(running: KBaseServer) -> None:
    job = running.run("add", 20, 22)
    run = running.wait(job)["scheduler_id"].partition(".")[0]
    page = running.room.mine.report(run).decode()
    assert "run_job_batch" in page and running.tokens["alice"] not in page
    with io.BytesIO() as file:
        running.room.mine.crate(run, file)
        with zipfile.ZipFile(file) as crate:
            [asked] = json.loads(crate.read("run.json"))["run_job_batch"]
    assert (asked["method"], asked["params"]) == ("Tester.add", [20, 22])


def test_a_runner_reports_start_and_end_itself(running: KBaseServer) -> None:
    job = running.run("sleep", 600)
    wait_for(lambda: running.call("get_job_status", {"job_id": job}) == {"status": "running"}, 60, "its start")
    assert running.call("start_job", {"job_id": job, "skip_estimation": True}) is None
    assert running.call("start_job", {"job_id": job}) is None, "a second start of the same attempt changes nothing"
    assert running.call("update_job_status", {"job_id": job, "status": "running"}) == job
    output = {"version": "1.1", "id": job, "result": [{"report_ref": "1/2/3"}]}
    assert running.call("finish_job", {"job_id": job, "job_output": output}) is None
    state = running.call("check_job", {"job_id": job})
    assert (state["status"], state["job_output"]) == ("completed", output)
    with pytest.raises(RpcFailure, match="Cannot finish job with a status of completed"):
        running.call("finish_job", {"job_id": job, "job_output": output})


def test_a_token_that_does_not_open_stops_its_own_run_alone(tmp_path: Path) -> None:
    with kbase_server(tmp_path / "home") as server:
        locked = server.run("add", 1)
        foreign = Seal(tmp_path / "other.key").close({"token": "t"})
        with server.room.database.write() as connection:
            connection.execute(kbase_runs.update().values(sealed=foreign))
        job = server.run("add", 1, 2)
        with server.room.run_engine():
            assert server.wait(job)["job_output"]["result"] == [3]
            state = server.wait(locked)
    assert state["status"] == "error"
    assert "does not open with the key in" in state["errormsg"]


def test_an_app_runs_its_steps_in_order(running: KBaseServer) -> None:
    def step(name: str, function: str, *values: Any) -> dict[str, Any]:
        service = {"service_name": "Tester", "method_name": function, "service_url": "", "service_version": None}
        return {
            "step_id": name, "type": "service", "service": service, "is_long_running": 1, "input_values": list(values),
        }  # fmt: skip

    def njs(method: str, *params: Any) -> Any:
        return running.call(method, *params, path="/services/njs_wrapper", service="NarrativeJobService")

    app = njs("run_app", {"name": "two", "steps": [step("sum", "add", 40, 2), step("look", "look", {})]})["job_id"]
    state = wait_for(
        lambda: (found := njs("check_app_state", app))["job_state"] == "completed" and found, 60, "its end"
    )
    assert state["step_outputs"]["sum"] == "[42]" and "look" in state["step_outputs"]
    stats = state["step_stats"]
    assert stats["sum"]["finish_time"] <= stats["look"]["exec_start_time"], "one after the other"
    failing = njs("run_app", {"steps": [step("bad", "fail"), step("after", "add", 1)]})["job_id"]
    state = wait_for(
        lambda: (found := njs("check_app_state", failing))["job_state"] == "suspend" and found, 60, "its end"
    )
    assert state["step_errors"] == {"bad": "a traceback"} and state["running_step_id"] == "bad"
