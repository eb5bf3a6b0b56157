"""The REST API over a real service on SQLite, without an engine: who may ask what, and how refusals look."""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from packhorse.api.app import DIRECT, create_app
from packhorse.api.auth import Tokens
from packhorse.api.runs import TABLE_OPTIONS, submit_table
from packhorse.engine.embedded import Embedded
from packhorse.store.allocations import insert_allocation, update_allocation
from packhorse.store.shares import Share, add_shares
from tests.fixtures.stores import insert_tasks_run

APP = "packhorse: 1\nname: t\nversion: '1'\ncommand: [/bin/true]\nparameters:\n  i: {type: integer}\n"


class Server:
    """The API in this process, with the tokens of an admin and two users."""

    def __init__(self, home: Path) -> None:
        (home / "catalog" / "t").mkdir(parents=True)
        (home / "catalog" / "t" / "app.yaml").write_text(APP)
        self.room = Embedded(home, app_folders=[home / "catalog"])
        tokens = Tokens(self.room.database)
        self.tokens = {name: tokens.add(name, admin=name == "root") for name in ("root", "alice", "bob")}
        self.api = create_app(self.room.service, tokens)
        self.http = TestClient(self.api, raise_server_exceptions=False)

    def ask(self, method: str, path: str, user: str | None = "alice", **options: Any) -> Any:
        headers = {**options.pop("headers", {}), **({"Authorization": f"Bearer {self.tokens[user]}"} if user else {})}
        return self.http.request(method, f"/api/v1{path}", headers=headers, **options)

    def submit(self, user: str = "alice", **fields: Any) -> str:
        answer = self.ask("POST", "/runs", user, json={"app": "t", "over": [{"i": 1}, {"i": 2}], **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.room.close()


def routes(app: Any) -> list[tuple[str, str]]:
    """(method, path) of every endpoint, wherever it was included."""
    found = []
    for path, methods in app.openapi()["paths"].items():
        found += [(method.upper(), path) for method in methods]
    found.append(("GET", "/api/v1/openapi.json"))
    return found


def test_every_endpoint_but_health_refuses_whoever_has_no_token(server: Server) -> None:
    asked = routes(server.api)
    assert len(asked) >= 20
    open_to_all = set()
    for method, path in asked:
        filled = re.sub(r"\{\w+\}", "r-x.0", path)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic cm9vdDo="}):
            if server.http.request(method, filled, headers=headers).status_code != 401:
                open_to_all.add(path)
    assert open_to_all == {"/api/v1/health", "/api/v1/health/ready"}


def test_no_route_is_outside_the_description(server: Server) -> None:
    described = {path for _, path in routes(server.api)}
    assert {route.path for route in server.api.routes if isinstance(route, APIRoute)} <= described


def test_what_is_answered_without_fastapi_is_described_as_well(server: Server) -> None:
    described = set(routes(server.api))
    asked = {(method, one.path) for one in DIRECT for method in (one.methods or set()) - {"HEAD"}}
    assert len(asked) >= 2 and asked <= described
    for one in DIRECT:
        assert server.http.request("PUT", one.path).status_code == 405


def test_accounts_tell_users_of_themselves_and_admins_of_all(server: Server) -> None:
    with server.room.database.write() as connection:
        seq = insert_allocation(connection, "a-1", "local", '{"cores": 2, "memory_mb": null}', 0.0)
        update_allocation(connection, seq, started_at=100.0, ended_at=200.0, state="ENDED")
        for user, core_s in (("alice", 60.0), ("bob", 40.0)):
            run_seq = insert_tasks_run(connection, 0, user=user, app=f"{user}s-app@1")
            add_shares(connection, seq, {run_seq: Share(1, 1, 0, core_s)})
    alices = server.ask("GET", "/usage", "alice")
    assert alices.json()["total"]["used_core_s"] == 60 and alices.json()["total"]["idle_core_s"] is None
    assert [line["name"] for line in alices.json()["by"]["app"]] == ["alices-app@1"]
    assert "bob" not in alices.text
    told = server.ask("GET", "/usage?by=user&by=site", "root").json()
    assert [(line["name"], line["used_core_s"]) for line in told["by"]["user"]] == [("alice", 60), ("bob", 40)]
    assert [(line["paid_core_s"], line["idle_core_s"]) for line in (told["total"], *told["by"]["site"])] == [
        (200, 100)
    ] * 2
    assert set(told["by"]) == {"user", "site"}
    assert server.ask("GET", "/usage?since=201", "root").json()["total"]["paid_core_s"] == 0
    for query in ("by=color", "since=soon", "since=-1", "since=nan"):
        assert server.ask("GET", f"/usage?{query}").status_code in (400, 422), query


def test_one_user_does_not_see_anothers_runs_and_an_admin_does(server: Server) -> None:
    run = server.submit("alice")
    paths = [
        f"/runs/{run}",
        f"/runs/{run}/tasks",
        f"/runs/{run}/results",
        f"/runs/{run}/usage",
        f"/runs/{run}/report",
        f"/runs/{run}/crate",
        f"/tasks/{run}.0",
        f"/tasks/{run}.0/logs/stdout",
    ]
    for path in paths:
        assert (server.ask("GET", path, "bob").status_code, server.ask("GET", path, "root").status_code) == (
            404,
            200,
        ), path
    for path in (f"/runs/{run}/cancel", f"/runs/{run}/retry", f"/tasks/{run}.0/cancel"):
        assert server.ask("POST", path, "bob").status_code == 404
    assert server.ask("GET", "/runs", "bob").json()["items"] == []
    assert len(server.ask("GET", "/runs", "root").json()["items"]) == 1


def test_users_bring_no_commands_paths_or_files_of_their_own(server: Server, tmp_path: Path) -> None:
    tasks = {"tasks": [{"name": "a", "task": {"executors": [{"command": ["id"]}]}}]}
    assert server.ask("POST", "/runs", "alice", json=tasks).status_code == 403
    assert server.ask("POST", "/runs", "root", json=tasks).status_code == 201
    path = {"app": str(tmp_path / "catalog" / "t" / "app.yaml"), "over": [{"i": 1}]}
    assert server.ask("POST", "/runs", "alice", json=path).status_code == 404
    assert server.ask("POST", "/runs", "root", json=path).status_code == 201
    assert server.ask("GET", "/doctor", "alice").status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"app": "nope"}, 404, "There is no app 'nope'. Known apps: t."),
        ({"app": "t", "over": [{"i": "x"}]}, 400, "was not accepted"),
        ({"app": "t", "over": []}, 400, "nothing to run"),
        ({"colour": "blue"}, 400, ""),
        ({"app": "t", "over": [{"i": 1}], "resources": {"cpu_cores": 10_000}}, 400, "was not accepted"),
    ],
)
def test_refusals_have_one_shape(server: Server, body: dict[str, Any], status: int, words: str) -> None:
    answer = server.ask("POST", "/runs", json=body)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert words in error["message"]
    assert set(error) >= {"code", "message", "hint", "problems"}


def test_bodies_that_are_no_json_or_too_large_are_refused(server: Server) -> None:
    headers = {"Content-Type": "application/json"}
    assert server.ask("POST", "/runs", content=b"{", headers=headers).status_code == 400
    assert server.ask("POST", "/runs", content=b"[" * 100_000, headers=headers).status_code == 400
    assert (
        server.ask("POST", "/runs", headers={**headers, "Content-Length": str(10**9)}, content=b"{}").status_code == 413
    )


def test_the_same_key_returns_the_same_run_and_another_request_is_a_conflict(server: Server) -> None:
    key = {"Idempotency-Key": "k1"}
    first = server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}]}, headers=key).json()["id"]
    assert server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}]}, headers=key).json()["id"] == first
    assert server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 2}]}, headers=key).status_code == 409
    assert server.ask("POST", "/runs", "bob", json={"app": "t", "over": [{"i": 2}]}, headers=key).status_code == 201


def test_a_table_may_be_uploaded(server: Server) -> None:
    rows = b"i\n" + b"\n".join(str(number).encode() for number in range(5000))
    answer = server.ask("POST", "/runs/table", params={"app": "t"}, content=rows, headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["tasks"]) == (201, 5000)
    wrong = server.ask(
        "POST", "/runs/table", params={"app": "t"}, content=b"i\nx\n", headers={"Content-Type": "text/csv"}
    )
    assert "row 1, parameter 'i'" in str(wrong.json()["error"]["problems"])


def test_all_options_of_a_run_can_be_said_of_one_with_a_table(server: Server) -> None:
    """One that was not known would be dropped without a word, and tasks run elsewhere than they should."""
    assert set(signature(submit_table).parameters) >= TABLE_OPTIONS
    upload = {"content": b"i\n1\n", "headers": {"Content-Type": "text/csv"}}
    asked = server.ask("POST", "/runs/table", "root", params={"app": "t", "image": "lab/tool:1"}, **upload)
    assert "runs no containers" in str(asked.json()["error"]["problems"])
    wrong = server.ask("POST", "/runs/table", params={"app": "t", "imgae": "lab/tool:1"}, **upload)
    assert (wrong.status_code, "'imgae' is not an option" in wrong.json()["error"]["message"]) == (400, True)


def test_pages_follow_each_other(server: Server) -> None:
    run = server.submit(over=[{"i": number} for number in range(25)])
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = server.ask(
            "GET", f"/runs/{run}/tasks", params={"limit": 10, **({"cursor": cursor} if cursor else {})}
        ).json()
        seen += [task["index"] for task in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(range(25))
    for wrong in ({"limit": 0}, {"limit": 100_000}, {"cursor": "x"}, {"state": "SLEEPING"}):
        assert server.ask("GET", f"/runs/{run}/tasks", params=wrong).status_code == 400


def test_a_cancel_before_anything_runs_is_at_once_and_can_be_retried(server: Server) -> None:
    run = server.submit()
    assert server.ask("POST", f"/runs/{run}/retry").status_code == 409
    assert server.ask("POST", f"/runs/{run}/cancel").json()["counts"] == {"CANCELED": 2}
    again = server.ask("POST", f"/runs/{run}/retry")
    assert (again.status_code, again.json()["retry_of"], again.json()["tasks"]) == (201, run, 2)


def test_a_task_is_shown_with_its_tes_document(server: Server) -> None:
    task = server.ask("GET", f"/tasks/{server.submit()}.1").json()
    assert task["document"]["executors"][0]["command"] == ["/bin/true"]
    assert (task["state"], task["params"], [event["to_state"] for event in task["events"]]) == (
        "QUEUED",
        {"i": 2},
        ["QUEUED"],
    )


@pytest.mark.parametrize("path", ["..%2F..%2Fpackhorse.db", "%2Fetc%2Fpasswd", "nothing"])
def test_outputs_outside_the_tasks_folder_are_refused(server: Server, path: str) -> None:
    assert server.ask("GET", f"/tasks/{server.submit()}.0/files/{path}").status_code in (400, 404)


def test_tokens_are_stored_as_hashes_only(server: Server) -> None:
    with server.room.database.read() as connection:
        stored = connection.exec_driver_sql("SELECT hash FROM tokens").scalars().all()
    assert len(stored) == 3
    assert not set(stored) & set(server.tokens.values())


def test_a_revoked_token_opens_nothing(server: Server) -> None:
    Tokens(server.room.database).revoke("bob")
    assert server.ask("GET", "/runs", "bob").status_code == 401


def test_the_owners_token_file_is_private(server: Server, tmp_path: Path) -> None:
    tokens = Tokens(server.room.database)
    tokens.ensure_file(tmp_path / "token", "root")
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    first = (tmp_path / "token").read_text()
    tokens.ensure_file(tmp_path / "token", "root")
    assert (tmp_path / "token").read_text() == first


def test_hundreds_who_wait_hold_nobody_up(server: Server) -> None:
    """A server has forty threads for requests: waits must hold none of them."""
    run = server.submit()

    async def crowd() -> list[Any]:
        transport = httpx2.ASGITransport(server.api)
        headers = {"Authorization": f"Bearer {server.tokens['alice']}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://test/api/v1", headers=headers) as client:
            waits = [asyncio.ensure_future(client.get(f"/runs/{run}/wait?timeout_s=30")) for _ in range(200)]
            await asyncio.sleep(0.5)
            assert (await asyncio.wait_for(client.get(f"/runs/{run}"), 20)).json()["counts"] == {"QUEUED": 2}
            assert not any(one.done() for one in waits)
            await client.post(f"/runs/{run}/cancel")
            return [answer.json() for answer in await asyncio.wait_for(asyncio.gather(*waits), 20)]

    assert all(answer["ended_at"] for answer in asyncio.run(crowd()))


def test_a_report_is_a_page_that_may_do_nothing(server: Server) -> None:
    answer = server.ask("GET", f"/runs/{server.submit('alice')}/report", "alice")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.startswith("<!DOCTYPE html>")
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_crate_is_an_archive_to_keep(server: Server) -> None:
    run = server.submit("alice")
    answer = server.ask("GET", f"/runs/{run}/crate", "alice")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{run}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None and "ro-crate-metadata.json" in archive.namelist()
