"""Every route of the application asks the policy; tokens are made, listed, limited and revoked; runs are shared."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.access import Action, Decision, Owned, Policy
from packhorse.domain.users import Scope, User
from packhorse.identity.known import LIFE_S, KnownTokens, forget_all
from packhorse.identity.tokens import NewToken, Tokens
from tests.unit.api.test_api import Server, routes

#: What needs no decision: whether the server lives is told to everybody.
OPEN = {("GET", "/api/v1/health"), ("GET", "/api/v1/health/ready")}
#: Bodies that are examples of apps that this server does not have.
BODIES: dict[str, Any] = {
    "/api/v1/runs": {"app": "t", "over": [{"i": 1}]},
    "/api/v1/estimate": {"app": "t", "over": [{"i": 1}]},
    "/api/v1/runs:batch": [{"app": "t", "over": [{"i": 1}]}],
}
TABLE = {"content": b"i\n1\n", "headers": {"Content-Type": "text/csv"}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.room.close()


def requests(server: Server, run: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(method, path as declared, path to ask for, options) of every route, such that nothing is wrong with it."""
    values = {
        "run_id": run, "task_id": f"{run}.0", "stream": "stdout", "name": "t", "path": "x", "token_id": "t-0",
        "webhook_id": "w-0", "grantee": "user:bob", "id": f"{run}.0",
    }  # fmt: skip
    document = server.api.openapi()
    for method, path in routes(server.api):
        filled = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)
        operation = document["paths"].get(path, {}).get(method.lower(), {})
        options: dict[str, Any] = {}
        if body := operation.get("requestBody"):
            json_body = body["content"].get("application/json", {})
            options = {"json": BODIES.get(path, json_body["example"])} if json_body else TABLE
        if path.endswith("/table"):
            filled += "?app=t"
        if path.endswith("/wait"):
            filled += "?timeout_s=0"
        if not path.endswith(("/follow", "/events")):  # it would never end
            yield method, path, filled, options


def ask(server: Server, method: str, path: str, who: str, **options: Any) -> Any:
    """A request by its whole path: not all are below /api/v1."""
    headers = {**options.pop("headers", {}), "Authorization": f"Bearer {server.tokens[who]}"}
    return server.http.request(method, path, headers=headers, **options)


def test_no_route_answers_without_a_decision(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[Action] = []
    decide = Policy.decide

    def note(self: Policy, user: User, action: Action, thing: Owned | None = None) -> Decision:
        decided.append(action)
        return decide(self, user, action, thing)

    monkeypatch.setattr(Policy, "decide", note)
    without = []
    for method, path, filled, options in requests(server, server.submit("alice")):
        for who in ("alice", "bob", "root"):
            decided.clear()
            answer = ask(server, method, filled, who, **options)
            assert answer.status_code < 500, (method, path, answer.text)
            if not decided:
                without.append((method, path))
    assert set(without) <= OPEN


def test_a_token_without_a_scope_opens_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    run = server.submit("root")
    nothing = User("root", admin=True, scopes=frozenset())
    monkeypatch.setattr(Tokens, "who", lambda self, token: nothing)
    forget_all()
    opened = []
    for method, path, filled, options in requests(server, run):
        if ask(server, method, filled, "root", **options).status_code != 403:
            opened.append(path)
    assert set(opened) == {*(path for _, path in OPEN), "/api/v1/whoami", "/api/v1/openapi.json"}


def test_what_is_anothers_and_what_is_nowhere_are_told_alike(server: Server) -> None:
    theirs, nowhere = server.submit("alice"), "r-0123456789abcdef"
    statements = []
    for method, path in [
        ("GET", "/runs/{}"), ("GET", "/runs/{}/tasks"), ("GET", "/runs/{}/report"), ("POST", "/runs/{}/cancel"),
        ("POST", "/runs/{}/retry"), ("GET", "/tasks/{}.0"), ("POST", "/tasks/{}.0/cancel"),
        ("GET", "/tasks/{}.0/logs/stdout"), ("GET", "/runs/{}/sharing"), ("PUT", "/runs/{}/sharing/user:bob"),
    ]:  # fmt: skip
        told = []
        for run in (theirs, nowhere):
            with counted(server) as sent:
                answer = server.ask(method, path.format(run), "bob")
            told.append((answer.status_code, re.sub(rf"{run}|q-\w+", "ID", answer.text)))
            statements.append([text for text in sent if "tokens" not in text and text != "BEGIN"])
        assert told[0] == told[1] and told[0][0] == 404, path
    assert statements[0::2] == statements[1::2], "the same is asked of the store, so it takes as long"


def counted(server: Server) -> Any:
    from tests.fixtures.stores import counted_statements

    return counted_statements(server.room.database)


# --- tokens ------------------------------------------------------------


def bearer(token: str) -> dict[str, Any]:
    return {"user": None, "headers": {"Authorization": f"Bearer {token}"}}


def test_a_user_makes_lists_and_revokes_tokens_one_by_one(server: Server) -> None:
    made = server.ask("POST", "/tokens", json={"name": "laptop", "scopes": ["read"], "expires_in_s": 3600})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    token, public = made.json()["token"], made.json()["id"]
    assert server.ask("GET", "/runs", **bearer(token)).status_code == 200
    refused = server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}]}, **bearer(token))
    assert refused.status_code == 403 and "does not have the scope 'submit'" in refused.text
    listed = server.ask("GET", "/tokens").json()
    assert [one["name"] for one in listed] == ["", "laptop"] and token not in str(listed)
    assert {one["user"] for one in server.ask("GET", "/tokens", "root").json()} == {"alice", "bob", "root"}
    assert server.ask("DELETE", f"/tokens/{public}", "bob").status_code == 404
    assert server.ask("DELETE", f"/tokens/{public}").status_code == 204
    assert server.ask("GET", "/runs", **bearer(token)).status_code == 401, "at once"
    assert server.ask("DELETE", f"/tokens/{public}").status_code == 404
    changes = [(line["user"], line["action"]) for line in server.ask("GET", "/audit", "root").json()["items"][:2]]
    assert changes == [("alice", "token revoked"), ("alice", "token made")]
    assert server.ask("GET", "/audit").status_code == 403


@pytest.mark.parametrize(
    "asked",
    [
        {"user": "bob"},
        {"admin": True},
        {"sees_all": True},
        {"scopes": ["read", "submit", "admin"]},
    ],
)
def test_a_token_makes_none_that_opens_more(server: Server, asked: dict[str, Any]) -> None:
    weak = Tokens(server.room.database).make(NewToken("alice", scopes=[Scope.READ, Scope.SUBMIT])).token
    assert server.ask("POST", "/tokens", json=asked, **bearer(weak)).status_code == 403
    reads = Tokens(server.room.database).make(NewToken("alice", scopes=[Scope.READ])).token
    assert server.ask("POST", "/tokens", json={}, **bearer(reads)).status_code == 403
    if "scopes" not in asked:
        assert server.ask("POST", "/tokens", "root", json=asked).status_code == 201


@pytest.mark.parametrize(
    "asked",
    [{"scopes": []}, {"scopes": ["write"]}, {"expires_in_s": 0}, {"expires_in_s": -1}, {"name": "x" * 101}, {"nme": ""},
     {"name": "a\0"}, [], {"name": "\n"}],
)  # fmt: skip
def test_a_token_that_makes_no_sense_is_refused(server: Server, asked: Any) -> None:
    assert server.ask("POST", "/tokens", json=asked).status_code == 400


def test_an_expired_token_opens_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    token = Tokens(server.room.database).make(NewToken("alice", expires_at=time.time() + 3600)).token
    assert server.ask("GET", "/runs", **bearer(token)).status_code == 200
    forget_all()
    monkeypatch.setattr("packhorse.identity.tokens.time.time", lambda: 1e11)
    answer = server.ask("GET", "/runs", **bearer(token))
    assert answer.status_code == 401 and "has expired" in answer.text


def test_an_admins_token_without_that_scope_is_a_users(server: Server) -> None:
    run = server.submit("alice")
    weak = Tokens(server.room.database).make(NewToken("root", admin=True, scopes=[Scope.READ])).token
    assert server.ask("GET", f"/runs/{run}", **bearer(weak)).status_code == 404
    assert server.ask("GET", "/whoami", **bearer(weak)).json() == {
        "user": "root", "admin": False, "sees_all": False, "scopes": ["read"], "groups": [],
    }  # fmt: skip


def test_a_read_only_admin_sees_everybodys_and_changes_nothing(server: Server) -> None:
    run = server.submit("alice")
    reader = Tokens(server.room.database).make(NewToken("eve", sees_all=True)).token
    assert server.ask("GET", f"/runs/{run}", **bearer(reader)).json()["user"] == "alice"
    assert len(server.ask("GET", "/runs", **bearer(reader)).json()["items"]) == 1
    for method, path in [
        ("POST", f"/runs/{run}/cancel"), ("POST", f"/runs/{run}/retry"), ("POST", f"/tasks/{run}.0/cancel"),
        ("PUT", f"/runs/{run}/sharing/user:eve"), ("GET", "/doctor"),
    ]:  # fmt: skip
        assert server.ask(method, path, **bearer(reader)).status_code == 403, path
    assert server.ask("GET", f"/runs/{run}").json()["counts"] == {"QUEUED": 2}


def test_requests_that_follow_each_other_ask_the_store_once_who_it_is(server: Server) -> None:
    server.ask("GET", "/whoami")
    with counted(server) as sent:
        for _ in range(5):
            assert server.ask("GET", "/whoami").status_code == 200
    assert not [text for text in sent if "tokens" in text]


def test_known_tokens_are_few_and_soon_forgotten() -> None:
    now = [0.0]
    known = KnownTokens(lambda: now[0])
    known.put("a", User("alice"), known.revocations())
    assert known.get("a") == User("alice") and known.get("b") is None
    now[0] = LIFE_S
    assert known.get("a") is None
    before = known.revocations()
    forget_all()
    known.put("a", User("alice"), before)
    assert known.get("a") is None, "it was revoked while it was looked up"
    for number in range(10_001):
        known.put(str(number), User("u"), known.revocations())
    assert known.get("0") is None and known.get("10000") == User("u")


# --- sharing ------------------------------------------------------------


def test_a_shared_run_is_seen_and_not_changed(server: Server) -> None:
    run = server.submit("alice")
    shared = server.ask("PUT", f"/runs/{run}/sharing/user:bob")
    assert (shared.status_code, [one["grantee"] for one in shared.json()]) == (200, ["user:bob"])
    for path in (f"/runs/{run}", f"/runs/{run}/tasks", f"/tasks/{run}.1", f"/runs/{run}/report"):
        assert server.ask("GET", path, "bob").status_code == 200, path
    refused = server.ask("POST", f"/runs/{run}/cancel", "bob")
    assert (refused.status_code, "It is alice's" in refused.text) == (403, True)
    assert server.ask("PUT", f"/runs/{run}/sharing/user:carol", "bob").status_code == 403
    assert server.ask("GET", "/runs", "bob").json()["items"] == []
    assert [one["id"] for one in server.ask("GET", "/runs?shared=true", "bob").json()["items"]] == [run]
    assert server.ask("DELETE", f"/runs/{run}/sharing/user:bob").json() == []
    assert server.ask("GET", f"/runs/{run}", "bob").status_code == 404
    assert server.ask("DELETE", f"/runs/{run}/sharing/user:bob").status_code == 404
    assert server.ask("GET", "/audit", "root").json()["items"][0]["what"] == f"{run} with user:bob"


def test_a_run_is_shared_with_a_group(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    run = server.submit("alice")
    assert server.ask("PUT", f"/runs/{run}/sharing/group:lab").status_code == 200
    assert server.ask("GET", f"/runs/{run}", "bob").status_code == 404
    monkeypatch.setattr(Tokens, "who", lambda self, token: User("bob", groups=frozenset({"lab", "other"})))
    forget_all()
    assert server.ask("GET", f"/runs/{run}", "bob").status_code == 200
    assert len(server.ask("GET", "/runs?shared=true", "bob").json()["items"]) == 1


@pytest.mark.parametrize("grantee", ["bob", "user:", "role:x", "user:a%00", "user:" + "x" * 201, "user:a%0Ab"])
def test_who_is_nobody_is_shared_nothing(server: Server, grantee: str) -> None:
    assert server.ask("PUT", f"/runs/{server.submit()}/sharing/{grantee}").status_code in (400, 404)
