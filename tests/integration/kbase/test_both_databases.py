"""What the store does for jobs, on SQLite and PostgreSQL: batches that run, retries, logs of many writers at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.resources import Estimates
from packhorse.store.schema import kbase_jobs, kbase_runs, tasks
from tests.fixtures.kbase import KBaseServer, kbase_server, make_module
from tests.fixtures.room import wait_for
from tests.fixtures.stores import counted_statements


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[KBaseServer]:
    with kbase_server(tmp_path / "home", engine=True, database_url=database_url) as made:
        yield made


@pytest.fixture
def idle(tmp_path: Path, database_url: str) -> Iterator[KBaseServer]:
    """Without an engine."""
    with kbase_server(tmp_path / "home", database_url=database_url) as made:
        yield made


@pytest.fixture
def undecided(tmp_path: Path, database_url: str) -> Iterator[KBaseServer]:
    """Without an engine, where what jobs are granted is to be decided."""
    estimates = EstimatesConfig(mode=Estimates.ON)
    make_module(tmp_path / "catalog", "Sized")
    manifest = tmp_path / "catalog" / "sized-all" / "app.yaml"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "resources": {"ram_gb": 1}}))
    with kbase_server(tmp_path / "home", database_url=database_url, estimates=estimates) as made:
        yield made


def test_a_batch_runs_and_what_failed_is_tried_again(server: KBaseServer) -> None:
    jobs = [
        {"method": f"Tester.{'fail' if index == 3 else 'add'}", "params": [index], "app_id": "t"} for index in range(60)
    ]
    batch = server.call("run_job_batch", jobs, {"wsid": 7})

    def over() -> Any:
        state = server.call("check_job", {"job_id": batch["batch_id"]})
        return state if state["status"] in ("completed", "error") else None

    parent = wait_for(over, 90, "the end of the batch")
    assert parent["status"] == "completed" and parent["finished"] >= parent["created"]
    states = server.call("check_jobs", {"job_ids": batch["child_job_ids"], "return_list": 0})
    results = [state.get("job_output", {}).get("result") for state in states.values()]
    assert results == [None if index == 3 else [index] for index in range(60)]
    failed = batch["child_job_ids"][3]
    assert states[failed]["status"] == "error"
    [retry] = server.call("retry_jobs", {"job_ids": [failed]})
    assert server.wait(retry["retry_id"])["status"] == "error"
    listed = server.call("check_workspace_jobs", {"workspace_id": 7, "return_list": 0})
    assert set(listed) == {batch["batch_id"], *batch["child_job_ids"], retry["retry_id"]}
    assert listed[batch["batch_id"]]["child_jobs"] == [*batch["child_job_ids"], retry["retry_id"]]


def test_many_writers_of_logs_are_numbered_and_cost_few_statements(idle: KBaseServer) -> None:
    jobs = [idle.run("add", index) for index in range(10)]
    caller = idle.kbase.of_caller(idle.room.user, "")
    tasks = [int(job[8:], 16) for job in jobs]
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for part in range(5):
                lines = [{"line": f"{number} {part} {index}"} for index in range(20)]
                caller.kbase.logs.add(tasks[number % len(tasks)], lines)
        except BaseException as error:
            failures.append(error)

    with counted_statements(idle.room.database) as sent:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(sent) < 200 * 6, "one transaction takes several of the two hundred calls"
    for place, job in enumerate(jobs):
        page = idle.call("get_job_logs", {"job_id": job})
        texts = [line["line"] for line in page["lines"] if line["line"][0].isdigit()]
        assert [line["linepos"] for line in page["lines"]] == list(range(page["count"]))
        assert len(texts) == 400
        for writer in range(place, 40, 10):  # each writer's lines are in the order in which it wrote them
            own = [text for text in texts if text.startswith(f"{writer} ")]
            assert own == [f"{writer} {part} {index}" for part in range(5) for index in range(20)]


def test_what_is_asked_of_a_batch_takes_few_statements(idle: KBaseServer) -> None:
    told = idle.call("run_job_batch", [{"method": "Tester.add", "app_id": "t"}] * 300, {"wsid": 1})
    ids = [told["batch_id"], *told["child_job_ids"]]
    with counted_statements(idle.room.database) as sent:
        idle.call("check_jobs", {"job_ids": ids, "exclude_fields": ["job_input"], "return_list": 0})
    few = len(sent)
    with counted_statements(idle.room.database) as sent:
        idle.call("check_jobs", {"job_ids": ids[:60], "exclude_fields": ["job_input"], "return_list": 0})
    assert few <= len(sent) + 1 and few < 20, "as many for three hundred as for sixty"


def test_tokens_are_forgotten_when_a_run_is_over(server: KBaseServer) -> None:
    job = server.run("add", 1)
    server.wait(job)
    from packhorse.engine.unfinished import forget_tokens_of_ended

    def sealed() -> list[Any]:
        with server.room.database.read() as connection:
            return [row.sealed for row in connection.execute(kbase_runs.select())]

    assert server.tokens["alice"].encode() not in (sealed()[0] or b"")
    give_up = time.monotonic() + 30
    while sealed() != [None] and time.monotonic() < give_up:
        list(forget_tokens_of_ended(server.room.database))
    assert sealed() == [None]


def test_many_states_are_told_as_each_alone(idle: KBaseServer) -> None:
    """The answer of thousands is written after a pattern: it must be that of ``check_job``, whatever became of them."""
    states = [
        "QUEUED",
        "INITIALIZING",
        "RUNNING",
        "COMPLETE",
        "EXECUTOR_ERROR",
        "SYSTEM_ERROR",
        "CANCELED",
        "CANCELING",
    ]
    results = [
        None,
        '{"result":["50% done \\u00e9 %(task)d"]}',
        '{"result":["\\ud800"]}',
        f'{{"result":["{"x" * 5000}"]}}',
    ]
    times = [(None, None), (1.7e9 + 0.1234567, None), (1.7e9 + 0.9999999, 1.7e9 + 12.3456789)]
    kinds = [(state, result, when) for state in states for result in results for when in times]
    batch = idle.call(
        "run_job_batch", [{"method": "Tester.add", "params": [i]} for i in range(len(kinds))], {"wsid": 7}
    )
    alone = idle.run("add", 1)
    ids = [*batch["child_job_ids"], alone]
    with idle.room.database.write() as connection:
        for job, (state, result, (began, ended)) in zip(ids, [*kinds, kinds[-1]], strict=True):
            values = {"state": state, "result": result, "started_at": began, "ended_at": ended}
            failed = {"failure": "app", "reason": "it \u00e9nded"} if state.endswith("ERROR") else {}
            of = tasks.c.id == int(job[8:], 16)
            connection.execute(sa.update(tasks).where(of).values({**values, **failed}))
        of = {"task_id": int(ids[0][8:], 16), "abandoned": True}
        connection.execute(sa.insert(kbase_jobs).values(of))
        connection.execute(
            sa.insert(kbase_jobs).values({"task_id": int(ids[6][8:], 16), "started": 0, "started_at": 5.0})
        )
    again = idle.call("retry_job", {"job_id": ids[4 * len(results) * len(times)]})["retry_id"]
    asked = [batch["batch_id"], *ids, again, "0" * 24]
    for left_out in ([], ["job_input"], ["job_input", "job_output", "updated", "running"]):
        said = {"job_ids": asked, "exclude_fields": left_out}
        by_id = idle.call("check_jobs", {**said, "return_list": 0})
        assert list(by_id) == asked
        assert idle.call("check_jobs", said) == {"job_states": list(by_id.values())}
        for job in asked[:-1]:
            assert by_id[job] == idle.call("check_job", {"job_id": job, "exclude_fields": left_out}), job
        assert by_id["0" * 24]["check_job_error"]
        together = idle.call("check_job_batch", {"job_id": batch["batch_id"], "exclude_fields": left_out})
        children = [*batch["child_job_ids"][1:], again]  # the first was abandoned
        assert together == {"batch_jobstate": by_id[asked[0]], "child_jobstates": [by_id[job] for job in children]}
    assert idle.call("check_jobs", {"job_ids": []}) == {}


def test_jobs_that_wait_for_a_decision_are_told_so_among_many(undecided: KBaseServer) -> None:
    batch = undecided.call("run_job_batch", [{"method": "Sized.add", "params": [i]} for i in range(60)], {"wsid": 7})
    ids = batch["child_job_ids"]
    with undecided.room.database.write() as connection:
        tried, waiting = (tasks.c.id == int(job[8:], 16) for job in ids[:2])
        connection.execute(sa.update(tasks).where(tried).values(attempt=1))
        connection.execute(sa.update(tasks).where(waiting).values(waiting_on=1))
    states = undecided.call("check_jobs", {"job_ids": ids, "exclude_fields": ["job_input"]})["job_states"]
    assert [state["status"] for state in states] == ["queued"] * 2 + ["estimating"] * 58
    assert states == [undecided.call("check_job", {"job_id": job, "exclude_fields": ["job_input"]}) for job in ids]


def test_thousands_of_states_cost_few_statements_and_rows(idle: KBaseServer) -> None:
    """Each row that SQLite gives costs a change of threads, while the engine computes."""
    jobs = [{"method": "Tester.add", "params": [index]} for index in range(300)]
    batch = idle.call("run_job_batch", jobs, {"wsid": 7})
    with counted_statements(idle.room.database) as counted:
        said = {"job_ids": batch["child_job_ids"], "exclude_fields": ["job_input"], "return_list": 0}
        assert len(idle.call("check_jobs", said)) == 300
    assert len(counted) <= 8, counted


def test_the_steps_of_an_app_follow_each_other_and_are_listed(idle: KBaseServer) -> None:
    def older(service: str, method: str, *params: Any) -> Any:
        path = {"NarrativeJobService": "njs_wrapper", "UserAndJobState": "userandjobstate"}[service]
        return idle.call(method, *params, path=f"/services/{path}", service=service)

    service = {"service_name": "Tester", "method_name": "add", "service_url": ""}
    steps = [
        {"step_id": name, "type": "service", "service": service, "is_long_running": 1, "input_values": [1]}
        for name in ("a", "b")
    ]
    state = older("NarrativeJobService", "run_app", {"steps": steps})
    app, jobs = state["job_id"], state["step_job_ids"]
    for name in ("a", "b"):
        output = {"version": "1.1", "id": jobs[name], "result": [name]}
        idle.call("finish_job", {"job_id": jobs[name], "job_output": output})
    state = older("NarrativeJobService", "check_app_state", app)
    assert (state["job_state"], state["step_outputs"]) == ("completed", {"a": '["a"]', "b": '["b"]'})
    listed = older("UserAndJobState", "list_jobs", None, "C")
    assert {info[0] for info in (listed if isinstance(listed[0], list) else [listed])} == {app, *jobs.values()}
    held = idle.call("check_job", {"job_id": idle.run("add", 1)})["scheduler_id"]
    assert idle.call("handle_held_job", held, user="root")["status"] == "error"
