"""Many runs in one request: each is accepted or refused by itself, over either database."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from packhorse.api import bodies
from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests import submitting
from packhorse.store.demands import recount
from packhorse.store.newtasks import INSERT_CHUNK
from packhorse.store.schema import runs, tasks

APP = "packhorse: 1\nname: t\nversion: '1'\ncommand: [/bin/true]\nparameters:\n  i: {type: integer}\n"
ONE = {"app": "t", "params": {"i": 1}}
TASKS = {"tasks": [{"name": "a", "task": {"executors": [{"command": ["id"]}]}}]}
STEPS = {"steps": [{"name": "a", **ONE}, {"name": "b", **ONE, "gather": ["a"]}]}


class Server:
    """The API over one store, with the tokens of an admin and two users."""

    def __init__(self, database_url: str, home: Path) -> None:
        (home / "catalog" / "t").mkdir(parents=True)
        (home / "catalog" / "t" / "app.yaml").write_text(APP)
        self.room = Embedded(home, database_url=database_url, app_folders=[home / "catalog"])
        tokens = Tokens(self.room.database)
        self.tokens = {name: tokens.add(name, admin=name == "root") for name in ("root", "alice", "bob")}
        self.http = TestClient(create_app(self.room.service, tokens), raise_server_exceptions=False)

    def ask(self, method: str, path: str, user: str | None = "alice", **options: Any) -> Any:
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        if user is not None:
            headers["Authorization"] = f"Bearer {self.tokens[user]}"
        return self.http.request(method, f"/api/v1{path}", headers=headers, **options)

    def batch(self, *documents: Any, user: str = "alice") -> list[dict[str, Any]]:
        """What is answered, each with either a run or an error."""
        answer = self.ask("POST", "/runs:batch", user, content=json.dumps(documents))
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert len(told) == len(documents)
        assert all((one["run"] is None) is not (one["error"] is None) for one in told)
        return list(told)

    def ids(self, *documents: Any, user: str = "alice") -> list[str]:
        """The ids of runs, all of which are accepted."""
        return [one["run"]["id"] for one in self.batch(*documents, user=user)]

    def refused(self, status: int, **options: Any) -> dict[str, Any]:
        """Why a request was refused as a whole, of which nothing was written."""
        before = self.count(runs)
        answer = self.ask("POST", "/runs:batch", **options)
        assert (answer.status_code, self.count(runs)) == (status, before), answer.text
        return dict(answer.json()["error"])

    def count(self, table: sa.Table) -> int:
        with self.room.database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


@pytest.fixture
def server(database_url: str, home: Path) -> Iterator[Server]:
    server = Server(database_url, home)
    yield server
    with server.room.database.write() as connection:
        assert recount(connection, "local") == 0
    server.room.close()


def test_each_is_accepted_or_refused_by_itself_at_its_position(server: Server) -> None:
    documents: list[tuple[Any, str | None]] = [
        (ONE, None),
        ({"app": "nope"}, "not_found"),
        ({"app": "t", "over": [{"i": 1}, {"i": 2}], "name": "two"}, None),
        ({"app": "t", "over": [{"i": "x"}]}, "invalid_request"),
        ({"app": "t", "over": []}, "invalid_request"),
        (STEPS, None),
        ({"colour": "blue"}, "invalid_request"),
        (17, "invalid_request"),
        (None, "invalid_request"),
        ([ONE], "invalid_request"),
        ({**ONE, "name": "a\0b"}, "invalid_request"),
        ({**ONE, "tags": {"a": "\ud800"}}, "invalid_request"),
        ({**ONE, "client_key": "a\0"}, "invalid_request"),
        ({"steps": [{"name": "a", **ONE, "gather": ["b"]}]}, "invalid_request"),
        ({**ONE, "name": "last"}, None),
    ]
    told = server.batch(*[document for document, _ in documents])
    assert [one["error"]["code"] if one["error"] else None for one in told] == [code for _, code in documents]
    assert all(one["error"]["message"].endswith(".") for one in told if one["error"])
    assert "row 1, parameter 'i'" in told[3]["error"]["problems"][0]["where"]
    accepted = [one["run"] for one in told if one["run"]]
    assert [(run["name"], run["tasks"], run["user"]) for run in accepted] == [
        ("t", 1, "alice"), ("two", 2, "alice"), ("b", 2, "alice"), ("last", 1, "alice")
    ]  # fmt: skip
    assert (server.count(runs), server.count(tasks)) == (4, 6)
    for run in accepted:
        asked = server.ask("GET", f"/runs/{run['id']}").json()
        assert asked == run
    listed = server.ask("GET", "/runs").json()["items"]
    assert [run["id"] for run in listed] == [run["id"] for run in reversed(accepted)]


def test_the_same_keys_give_the_same_runs_and_another_request_under_one_is_a_conflict(server: Server) -> None:
    keyed = [{"app": "t", "params": {"i": number}, "client_key": f"k{number}"} for number in range(3)]
    first = server.ids(*keyed)
    assert server.ids(*keyed) == first
    assert server.ids(*reversed(keyed)) == first[::-1]
    told = server.batch({**keyed[0], "params": {"i": 7}}, keyed[1], {**ONE, "client_key": "new"})
    assert told[0]["error"]["code"] == "conflict" and first[0] in told[0]["error"]["message"]
    assert told[1]["run"]["id"] == first[1] and told[2]["run"]["id"] not in first
    assert not set(server.ids(*keyed, user="bob")) & set(first)
    alone = server.ask("POST", "/runs", json=ONE | {"params": {"i": 2}}, headers={"Idempotency-Key": "k2"})
    assert alone.json()["id"] == first[2]
    assert server.count(runs) == 7


def test_a_key_that_is_twice_in_one_request_is_one_run(server: Server) -> None:
    keyed = {**ONE, "client_key": "k"}
    told = server.batch(keyed, {**keyed, "params": {"i": 2}}, keyed, ONE)
    assert told[0]["run"]["id"] == told[2]["run"]["id"] != told[3]["run"]["id"]
    assert told[1]["error"]["code"] == "conflict"
    assert server.count(runs) == 2


def test_runs_without_a_key_are_new_each_time(server: Server) -> None:
    assert len({*server.ids(ONE, ONE), *server.ids(ONE, ONE)}) == 4


def test_what_a_user_may_not_do_is_refused_and_the_rest_is_not(server: Server, home: Path) -> None:
    path = {"app": str(home / "catalog" / "t"), "params": {"i": 1}}
    documents = [TASKS, {**ONE, "image": "none"}, path, ONE]
    told = server.batch(*documents)
    assert [one["error"] and one["error"]["code"] for one in told] == ["not_allowed", "not_allowed", "not_found", None]
    assert "need an image here" in told[0]["error"]["message"]
    assert len(server.ids(*documents, user="root")) == 4
    assert [server.ask("GET", f"/runs/{told[3]['run']['id']}", user).status_code for user in ("bob", "root")] == [
        404, 200
    ]  # fmt: skip


def test_a_request_that_is_no_list_of_runs_is_refused_whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ("{", "", json.dumps(ONE), '"x"', "null", "[" * 100_000, b"\xff\xfe"):
        assert server.refused(400, content=content)["message"].endswith(".")
    assert server.refused(400, json=ONE)["message"] == "The body is no list of runs."
    assert server.batch() == []
    server.refused(401, json=[ONE], user=None)
    monkeypatch.setattr(bodies, "MAX_RUNS", 3)
    assert "has 4 runs; the limit is 3." in server.refused(413, json=[ONE] * 4)["message"]
    assert len(server.ids(*[ONE] * 3)) == 3
    monkeypatch.setattr(bodies, "MAX_JSON_BYTES", 1000)
    assert "larger than 1,000 bytes" in server.refused(413, json=[ONE, {**ONE, "name": "x" * 1000}])["message"]
    assert server.refused(413, content=b"[]", headers={"Content-Length": str(10**9)})


def test_long_runs_among_short_ones_are_written_too_and_refused_by_themselves(server: Server) -> None:
    long = {"app": "t", "over": [{"i": number} for number in range(INSERT_CHUNK + 5)], "client_key": "long"}
    first = server.ids(ONE, long, ONE)
    told = server.batch(ONE, long, {**long, "over": long["over"][:-1]}, {**ONE, "client_key": "long"}, ONE)
    assert told[1]["run"]["id"] == first[1] and told[1]["run"]["tasks"] == INSERT_CHUNK + 5
    assert [bool(one["error"]) for one in told] == [False, False, True, True, False]
    assert (server.count(runs), server.count(tasks)) == (5, INSERT_CHUNK + 9)


def test_more_than_fit_into_a_transaction_are_all_answered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "_MOST_AT_ONCE", 7)
    documents = [ONE if number % 5 else {"app": "nope"} for number in range(50)]
    told = server.batch(*documents)
    assert [bool(one["run"]) for one in told] == [bool(number % 5) for number in range(50)]
    assert len({one["run"]["id"] for one in told if one["run"]}) == server.count(runs) == 40


def test_the_same_requests_at_one_moment_are_written_once(server: Server) -> None:
    keyed = [{**ONE, "client_key": f"k{number}"} for number in range(40)]
    answers: list[list[str]] = []

    def ask(turn: int) -> None:
        answers.append(sorted(server.ids(*(keyed if turn % 2 else keyed[::-1]))))

    threads = [threading.Thread(target=ask, args=[turn]) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 6 and all(answer == answers[0] for answer in answers)
    assert (server.count(runs), server.count(tasks)) == (40, 40)
