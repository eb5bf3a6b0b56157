"""AWE's jobs, composed as for AWE, run by an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.kbase import KBaseServer
from tests.fixtures.room import wait_for


def ask(server: KBaseServer, method: str, path: str = "", user: str = "root", **options: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"OAuth {server.tokens.get(user, user)}"} if user else {}
    answer = server.http.request(method, f"/awe/job{path}", headers=headers, **options)
    document = answer.json()
    more = {"limit", "offset", "total_count"} if method == "GET" and not path.lstrip("/").startswith("r-") else set()
    assert set(document) - more == {"status", "data", "error"} and document["status"] == answer.status_code
    return answer.status_code, document


def test_a_job_of_two_tasks_that_hand_a_file_over(running: KBaseServer) -> None:
    first = {"name": "sh", "args": "-c 'echo three > out.txt'"}
    second = {"name": "sh", "args": "-c 'test $(cat @out.txt) = three'"}
    document = {
        "info": {"name": "pair", "pipeline": "p"},
        "tasks": [
            {"taskid": "0", "cmd": first, "outputs": {"out.txt": {}}, "totalwork": 1},
            {"taskid": "1", "cmd": second, "inputs": {"out.txt": {"origin": "0"}}, "dependsOn": ["0"]},
        ],
    }
    status, told = ask(running, "POST", files={"upload": ("job.awf", json.dumps(document))})
    assert status == 200, told
    job = told["data"]["id"]
    assert [one["taskid"] for one in told["data"]["tasks"]] == ["0", "1"]
    wait_for(lambda: ask(running, "GET", f"/{job}")[1]["data"]["state"] == "completed", 60, "its end")
    data = ask(running, "GET", f"/{job}")[1]["data"]
    assert data["remaintasks"] == 0 and {one["state"] for one in data["tasks"]} == {"completed"}
    assert job in [one["id"] for one in ask(running, "GET")[1]["data"]]


def test_refusals(running: KBaseServer) -> None:
    document = {"tasks": [{"taskid": "0", "cmd": {"name": "true"}}]}
    assert ask(running, "POST", user="", json=document)[0] == 401
    assert ask(running, "POST", user="nobody", json=document)[0] == 401
    for wrong in (b"{", b"", b"[1]"):
        assert ask(running, "POST", content=wrong)[0] == 400
    status, told = ask(running, "POST", files={"other": ("job.awf", "{}")})
    assert status == 400 and "no field 'upload'" in told["error"][0]
    status, told = ask(running, "GET", "/r-0000000000000000")
    assert status == 404 and told["data"] is None
    slow = {"tasks": [{"taskid": "0", "cmd": {"name": "sleep", "args": "600"}}]}
    job = ask(running, "POST", json=slow)[1]["data"]["id"]
    assert ask(running, "GET", f"/{job}", user="bob")[0] == 404
    assert ask(running, "DELETE", f"/{job}", user="bob")[0] == 404
    for asked, hint in {
        "suspend": "submit it again", "resume": "Submit it again", "recompute=1": "packhorse retry", "x": "Delete it",
    }.items():  # fmt: skip
        status, told = ask(running, "PUT", f"/{job}?{asked}")
        assert status == 501 and hint in told["error"][0] and job in told["error"][0]
        assert ask(running, "PUT", f"/{job}?{asked}", user="bob")[0] == 404
    assert ask(running, "DELETE", f"/{job}")[1]["data"] == f"job deleted: {job}"
    wait_for(lambda: ask(running, "GET", f"/{job}")[1]["data"]["state"] == "deleted", 60, "its end")


def test_jobs_are_listed_by_state_and_page(running: KBaseServer) -> None:
    document = {"tasks": [{"taskid": "0", "cmd": {"name": "sleep", "args": "600"}}]}
    jobs = [ask(running, "POST", json=document)[1]["data"]["id"] for _ in range(3)]
    told = ask(running, "GET", "?active&limit=2&offset=1")[1]
    assert [one["id"] for one in told["data"]] == [jobs[1], jobs[0]]
    assert (told["limit"], told["offset"], told["total_count"]) == (2, 1, 3)
    for job in jobs:
        ask(running, "DELETE", f"/{job}")
    wait_for(lambda: ask(running, "GET", "?active")[1]["total_count"] == 0, 60, "their end")
    gone = ask(running, "GET", "?query&state=deleted,suspend&limit=500")[1]["data"]
    assert set(jobs) <= {one["id"] for one in gone} and {one["state"] for one in gone} == {"deleted"}
    assert ask(running, "GET")[1]["limit"] == 25
    for wrong in ("limit=x", "offset=-1", "limit="):
        status, told = ask(running, "GET", f"?{wrong}")
        assert status == 400 and "must be an integer" in told["error"][0]


@pytest.mark.parametrize(
    "path", ["work", "work?client=c&available=1", "work/x", "client", "client/c?heartbeat", "cgroup"]
)
def test_workers_of_awe_are_sent_away(path: str, running: KBaseServer) -> None:
    method = "PUT" if "heartbeat" in path else "POST" if path == "client" else "GET"
    answer = running.http.request(method, f"/awe/{path}")
    assert answer.status_code == 401
    answer = running.http.request(method, f"/awe/{path}", headers={"Authorization": f"OAuth {running.tokens['alice']}"})
    [told] = answer.json()["error"]
    assert answer.status_code == 501 and told.startswith("AWE's workers get no work here") and "site" in told
