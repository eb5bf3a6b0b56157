"""What each user may take at the doors of KBase's clients: told as an error of theirs, and when to ask again."""

from __future__ import annotations

from typing import Any

from packhorse.domain.accessconfig import LimitsConfig
from packhorse.engine.requests.limits import Limits
from tests.fixtures.kbase import KBaseServer
from tests.unit.api.kbase.test_wire import error_of


def limited(server: KBaseServer, **config: Any) -> list[float]:
    """Puts limits on a server's users; returns the clock that they go by."""
    clock = [0.0]
    server.room.service.limits = Limits(server.room.database, LimitsConfig.model_validate(config), lambda: clock[0])
    return clock


def refused(server: KBaseServer, method: str, *params: Any, user: str = "alice") -> tuple[str, str | None]:
    """(message, when to ask again) of a call that is refused."""
    body = {"version": "1.1", "method": f"execution_engine2.{method}", "params": list(params), "id": "7"}
    answer = server.post(body, user)
    return str(error_of(answer)["message"]), answer.headers.get("retry-after")


def test_submissions_a_second_are_limited(server: KBaseServer) -> None:
    job = {"method": "Tester.add", "params": [1]}
    clock = limited(server, submissions_per_s=0.1)
    first = server.call("run_job", job)
    for method, *params in (("run_job", job), ("run_job_batch", [job] * 3, {}), ("retry_job", {"job_id": first})):
        assert refused(server, method, *params) == (
            "You may submit 0.1 times a second here, and did so more often.", "10"
        ), method  # fmt: skip
    server.call("check_job", {"job_id": first})
    server.call("run_job", job, user="bob")
    server.call("run_job", job, user="root")
    server.call("run_job", job, user="root")
    clock[0] += 10
    server.call("run_job_batch", [job] * 3, {})


def test_jobs_in_flight_are_limited(server: KBaseServer) -> None:
    job = {"method": "Tester.add", "params": [1]}
    first = server.call("run_job", job)
    clock = limited(server, tasks_in_flight=5)
    server.call("run_job_batch", [job] * 3, {})
    message, after = refused(server, "run_job_batch", [job] * 2, {})
    assert after == "10" and "4 have not ended, and these are 2 more" in message
    assert "more than you may have in flight" in refused(server, "run_job_batch", [job] * 6, {})[0]
    server.call("run_job", job)
    assert refused(server, "run_job", job)[1] == "10"
    server.call("cancel_job", {"job_id": first})
    clock[0] += 1.1
    [answer] = server.call("retry_jobs", {"job_ids": [first]})
    assert "retry_id" in answer
    second = server.call("retry_jobs", {"job_ids": [first]})[0]
    assert "5 have not ended" in second["error"]


def test_bodies_are_limited_and_awe_says_when_to_ask_again(server: KBaseServer) -> None:
    limited(server, body_mb=0.001, submissions_per_s=0.1)
    message, _ = refused(server, "check_jobs", {"job_ids": ["x" * 2000]})
    assert "larger than 1,000 bytes" in message
    assert server.post(b"{" + b" " * 2000, "alice", "/awe/job").status_code == 413
    document = {"info": {}, "tasks": [{"cmd": {"name": "true", "args": ""}}]}
    answers = [server.post(document, "alice", "/awe/job") for _ in range(2)]
    assert (answers[1].status_code, answers[1].headers.get("retry-after")) == (429, "10")
