"""Jobs that a job starts below its own, over HTTP, as tasks beside it; and what is left of secrets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fixtures.kbase import KBaseServer, RpcFailure, served
from tests.fixtures.room import wait_for


def left_at(folder: Path, secret: str) -> list[str]:
    """The files below a folder that hold a secret."""
    found = subprocess.run(["grep", "-rlF", "--", secret, folder], capture_output=True, text=True)
    return found.stdout.split()


def test_jobs_below_are_tasks_beside_and_share_a_folder(tmp_path: Path) -> None:
    with served(tmp_path / "home") as server:
        job = server.run("parent", 3, source_ws_objects=["1/2/3"], service_ver="release")
        state = server.wait(job)
        told = state["job_output"]["result"][0]
        assert told["found"] == [[number, "from above"] for number in range(3)] and told["at_once"] == [
            99,
            "from above",
        ]
        states = server.call("check_jobs", {"job_ids": told["jobs"], "return_list": 0})
        assert {one["status"] for one in states.values()} == {"completed"}
        assert {one["job_input"]["parent_job_id"] for one in states.values()} == {job}
        [provenance] = told["provenance"]
        assert (provenance["service"], provenance["method"], provenance["method_params"]) == ("Tester", "parent", [3])
        assert provenance["input_ws_objects"] == ["1/2/3"] and [one["name"] for one in provenance["subactions"]] == [
            "Tester"
        ]
        runs = server.room.mine.runs().items
        assert len(runs) == 5, "each job below is a run of its own"
        site = tmp_path / "home" / "site"
        assert not list(site.glob("runs/*/*.shared")), "what jobs shared is gone"
        token = server.tokens["alice"]
        wait_for(lambda: left_at(site, token) == [], 30, "the end of every copy of the token")
        assert left_at(tmp_path / "home", token) == []


def test_the_callback_serves_nobody_else(tmp_path: Path) -> None:
    with served(tmp_path / "home") as server:
        job = server.run("sleep", 600)
        wait_for(lambda: server.call("get_job_status", {"job_id": job}) == {"status": "running"}, 60, "its start")
        task = int(job[8:], 16)
        call = {"service": "Tester", "user": None}
        for path in (f"/services/callback/wrong/{task}", f"/services/callback/{'x' * 32}/{task + 1}"):
            with pytest.raises(RpcFailure, match="There is no such job, or it is over"):
                server.call("_add_submit", 1, path=path, **call)
        sealed = _secret_of(server, task)
        path = f"/services/callback/{sealed}/{task}"
        with pytest.raises(RpcFailure, match="was not started by this one"):
            server.call("_check_job", job, path=path, **call)
        with pytest.raises(RpcFailure, match="There is no app for the method"):
            server.call("runs", path=path, service="Nobody", user=None)
        below = server.call("_sleep_submit", 600, path=path, **call)
        assert server.call("_check_job", below, path=path, **call) == {"finished": 0}
        server.call("cancel_job", {"job_id": job})
        assert server.wait(below)["status"] == "terminated", "what it has started ends with it"
        wait_for(lambda: server.wait(job)["status"] == "terminated", 30, "its end")


def _secret_of(server: KBaseServer, task: int) -> str:
    from packhorse.store.kbase.runs import sealed_token
    from packhorse.store.schema import TASKS_PER_RUN

    with server.room.database.read() as connection:
        sealed = sealed_token(connection, task // TASKS_PER_RUN)
    assert sealed is not None
    return str(server.room.seal.open(sealed)["callback"])
