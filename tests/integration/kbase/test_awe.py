"""AWE's jobs, composed as for AWE, run by an engine."""

from __future__ import annotations

import json
from typing import Any

from tests.fixtures.kbase import KBaseServer
from tests.fixtures.room import wait_for


def ask(server: KBaseServer, method: str, path: str = "", user: str = "root", **options: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"OAuth {server.tokens.get(user, user)}"} if user else {}
    answer = server.http.request(method, f"/awe/job{path}", headers=headers, **options)
    document = answer.json()
    assert set(document) == {"status", "data", "error"} and document["status"] == answer.status_code
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
    assert ask(running, "DELETE", f"/{job}")[1]["data"] == [f"job deleted: {job}"]
    wait_for(lambda: ask(running, "GET", f"/{job}")[1]["data"]["state"] == "deleted", 60, "its end")
