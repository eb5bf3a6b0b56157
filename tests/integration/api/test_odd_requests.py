"""Numbers, keys, bodies and methods that no client should send are answered with 4xx and a sentence, over either
database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.engine.embedded import Embedded

APP = """\
packhorse: 1
name: t
version: '1'
command: [/bin/true]
parameters: {i: {type: integer, optional: true}, text: {default: ''}}
"""
NINES = "9" * 40
ODD_PARTS = [
    "%00",
    "%ff%fe",
    "%ED%A0%80",
    "%E9",
    "%0A",
    "..%2F..",
    NINES,
    "x" * 5000,
    "%F0%9F%98%80",
    "a%00b",
    "%",
    "%zz",
    "%C2%B2",
]


class Server:
    """The API over one store, with one run."""

    def __init__(self, room: Embedded, folder: Path) -> None:
        (folder / "t").mkdir(parents=True)
        (folder / "t" / "app.yaml").write_text(APP)
        tokens = Tokens(room.database)
        token = tokens.add("root", admin=True)
        self.headers = {"Authorization": f"Bearer {token}".encode()}
        self.http = TestClient(create_app(room.service, tokens), raise_server_exceptions=False, follow_redirects=False)
        self.app = str(folder / "t")
        self.run = self.ask("POST", "/runs", 201, json={"app": self.app, "over": [{"i": 1}, {"i": 2}]}).json()["id"]

    def ask(self, method: str, path: str, *statuses: int, headers: dict[str, str] | None = None, **options: Any) -> Any:
        answer = self.http.request(
            method, f"/api/v1{path}", headers=[*self.headers.items(), *_bytes(headers or {})], **options
        )
        assert answer.status_code in statuses, (path, answer.status_code, answer.text[:500])
        return answer

    def refused(self, method: str, path: str, *statuses: int, **options: Any) -> str:
        """The message and the problems of a refusal, which has the one shape of all."""
        error = json.loads(self.ask(method, path, *(statuses or (400,)), **options).content.decode("ascii"))["error"]
        assert set(error) == {"code", "message", "hint", "problems", "request_id"}
        assert error["message"].endswith(".")
        return " ".join(
            [error["message"], *(f"{problem['where']}: {problem['what']}" for problem in error["problems"])]
        )


def _bytes(headers: dict[str, str]) -> list[tuple[str, bytes]]:
    return [(name, value.encode("latin-1")) for name, value in headers.items()]


@pytest.fixture
def server(embedded: Embedded, home: Path) -> Iterator[Server]:
    yield Server(embedded, home / "apps-of-mine")


def test_cursors_limits_and_times_of_any_size_are_refused_with_a_sentence(server: Server) -> None:
    odd = [NINES, "-1", "x", "\u0662", "\u00b2", "1e3", "\0", "NaN", "Infinity", "", "0x10", "9" * 5000]
    task = f"/tasks/{server.run}.0/logs/stdout"
    questions = ["/runs?cursor", "/runs?limit", f"/runs/{server.run}/tasks?cursor", f"/runs/{server.run}/tasks?limit"]
    questions += [
        f"/runs/{server.run}/wait?seen_done",
        f"{task}?offset",
        f"{task}?limit",
        f"{task}?attempt",
        f"{task}/follow?attempt",
    ]
    for question in questions:
        path, name = question.split("?")
        for value in odd:
            if value != "" or name != "cursor":
                assert name in server.refused("GET", path, params={name: value}), (question, value)
    for name, path in (("since", "/usage"), ("timeout_s", f"/runs/{server.run}/wait")):
        for value in ("NaN", "Infinity", "-1", "x", "\0", "1e999"):
            assert name in server.refused("GET", path, params={name: value})
    server.ask("GET", "/usage", 200, params={"since": "1e10"})
    server.refused("GET", task, 404, params={"attempt": str(1 << 62)})
    assert server.ask("GET", task, 200, params={"offset": str(1 << 62)}).content == b""
    assert "Last-Event-ID" in server.refused("GET", f"{task}/follow", headers={"Last-Event-ID": "9" * 20 + ":\u00b2"})
    server.refused("GET", f"{task}/follow", 404, headers={"Last-Event-ID": "9" * 20 + ":0"})


def test_ids_and_names_of_any_characters_are_not_there(server: Server) -> None:
    for part in ODD_PARTS:
        _asks_for(server, part)


def _asks_for(server: Server, part: str) -> None:
    for path in (
        f"/runs/{part}",
        f"/runs/{part}/tasks",
        f"/runs/{part}/results",
        f"/runs/{server.run}/files/{part}",
        f"/apps/{part}",
    ):
        server.refused("GET", path, 400, 404)
    for path in (
        f"/tasks/{part}",
        f"/tasks/{server.run}.{part}",
        f"/tasks/{server.run}.0/files/{part}",
        f"/tasks/{server.run}.0/logs/{part}",
    ):
        server.refused("GET", path, 400, 404)
    server.refused("POST", f"/runs/{part}/cancel", 400, 404, 405)
    server.refused("GET", f"/doctor?site={part}", 404)
    server.refused("POST", "/runs", 400, 404, json={"app": part})
    server.refused("GET", f"/runs/{server.run}0", 404)
    server.refused("GET", f"/tasks/{server.run}.\u0661", 400)
    server.refused("GET", f"/tasks/{server.run}.0%0A", 400)


BODIES = [
    (b'{"app": "\xff"}', "byte 10: 0xff is not UTF-8 text"),
    (b"", "not JSON (it ends too early"),
    (b"\xff\xfe{\0}\0", "is UTF-16 text"),
    (b'{"app": "t", "over": [{"i": 1}], "over": []}', "the key 'over' is there twice"),
    (b'{"app": "APP", "over": [{"i": 1, "i": 2}]}', "field 'over.0.i': is there twice"),
    (b'{"app": "APP", "over": [{"i": NaN}]}', "row 1, parameter 'i': expected a whole number, found nan"),
    (b'{"app": "APP", "over": [{"i": 1e999}]}', "row 1, parameter 'i': expected a whole number, found inf"),
    (
        b'{"app": "APP", "over": [{"i": ' + b"9" * 5000 + b"}]}",
        "row 1, parameter 'i': expected a whole number, found inf",
    ),
    (
        b'{"app": "APP", "over": [{"i": ' + b"9" * 400 + b"}]}",
        "row 1, parameter 'i': expected a whole number of at most 64 bits",
    ),
    (b'{"app": "APP", "over": [{"text": "\\ud800"}]}', "row 1, parameter 'text': holds a lone surrogate"),
    (b'{"app": "APP", "params": {"text": "\\u0000"}}', "common parameters, parameter 'text': contains a NUL byte"),
    (b'{"app": "t", "name": "\\u0000"}', "$.name holds a NUL character"),
    (b'{"app": "t", "tags": {"a": "\\udfff"}}', "$.tags.a holds a lone surrogate"),
    (b'{"app": "t", "tags": {"a": {}}}', "tags.a"),
    (b'{"app": "t", "resources": {"cpu_cores": 1e400}}', "$.resources.cpu_cores is Infinity"),
    (b'{"app": "APP", "resources": {"nodes": 99999999999999999999}}', "resources, field 'nodes'"),
    (b'{"app": "APP", "retry": {"app": 99999999999999999999}}', "retry"),
    (b'{"app": "t", "client_key": "a\\u0000"}', "$.client_key holds a NUL"),
    (b'{"app": "\\u0000"}', "$.app holds a NUL"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"app": "t", "tags": ' + b'{"a":' * 200 + b"1" + b"}" * 201, "nested more than 100 levels deep"),
    (b'{"tasks": [{"name": "a", "task": {"executors": [{"command": ["a\\u0000"]}]}}]}', "holds a NUL character"),
    (
        b'{"tasks": [{"name": "a", "task": {"executors": [{"command": ["a"], "env": {"\\ud800": "x"}}]}}]}',
        "holds a lone surrogate",
    ),
    (b"null", "expected an object"),
]


def test_a_body_that_cannot_be_held_is_refused_with_its_place(server: Server) -> None:
    for body, words in BODIES:
        for kind in ("application/json", "application/json; charset=utf-16"):
            content = body.replace(b"APP", server.app.encode())
            assert words in server.refused("POST", "/runs", content=content, headers={"Content-Type": kind}), body[:80]


def test_keys_headers_and_queries_of_odd_bytes(server: Server) -> None:
    run = {"app": server.app, "over": [{"i": 1}]}
    for key in ("a\0b", "x" * 201):
        server.refused("POST", "/runs", json=run, headers={"Idempotency-Key": key})
        server.refused("POST", f"/runs/{server.run}/retry", 400, 409, headers={"Idempotency-Key": key})
    odd = {"Idempotency-Key": b"\xe9\xff\x01 key".decode("latin-1")}
    first = server.ask("POST", "/runs", 201, json=run, headers=odd).json()["id"]
    assert server.ask("POST", "/runs", 201, json=run, headers=odd).json()["id"] == first
    for token in ("a\0b", "\u00e9", NINES, "x" * 100_000):
        assert server.http.get("/api/v1/runs", headers=_bytes({"Authorization": f"Bearer {token}"})).status_code == 401
    for length in ("\u00b2", "9" * 5000, "-1", "x"):
        server.ask("POST", "/runs", 201, 400, 413, content=json.dumps(run), headers={"Content-Length": length})
    upload = {"content": b"i\n1\n", "headers": {"Content-Type": "text/csv"}}
    for name in ("params", "tags", "resources", "retry"):
        for value in (
            "\0",
            "[",
            "[]",
            "1e999",
            '{"a": NaN}',
            '{"a": "\\ud800"}',
            '{"a": 1, "a": 2}',
            '{"a":' * 2000,
            '{"\\u0000": 1}',
        ):
            server.refused("POST", "/runs/table", params={"app": server.app, name: value}, **upload)
    for name in ("name", "session", "image", "outputs", "app", "o\0"):
        server.refused("POST", "/runs/table", 400, 404, params={"app": server.app, name: "a\0b"}, **upload)
    for kind in ("\u00e9", "application/json", "", "text/csv\0"):
        server.refused(
            "POST", "/runs/table", params={"app": server.app}, content=b"i\n1\n", headers={"Content-Type": kind}
        )


TABLES = [
    ("text/csv", b"text\nfine\ncaf\xe9\n", "row 2, parameter 'text': is not UTF-8 text"),
    ("text/csv", b"text\na\0\n", "row 1, parameter 'text': contains a NUL byte"),
    ("text/csv", b"te\xe9t\na\n", "The table, line 1: is not UTF-8 text: it has the byte 0xe9."),
    ("text/csv", b"i\n" + b"9" * 5000 + b"\n", "row 1, parameter 'i'"),
    ("application/x-ndjson", b'{"text": "\\ud800"}\n', "row 1, parameter 'text': holds a lone surrogate"),
    ("application/x-ndjson", b'{"text": "\xe9"}\n', "row 1, parameter 'text': is not UTF-8 text"),
    ("application/x-ndjson", b'{"i": 1}\n{"i": 1e999}\n', "row 2, parameter 'i': expected a whole number, found inf"),
    ("application/x-ndjson", b'{"i": 1, "i": 2}\n', "The table, line 1: the key 'i' is there twice"),
    ("application/x-ndjson", b'{"i": ' + b"[" * 100_000 + b"}\n", "nested too deeply"),
]


def test_a_table_that_cannot_be_held_is_refused_with_its_place(server: Server) -> None:
    for kind, table, words in TABLES:
        headers = {"Content-Type": kind}
        assert words in server.refused(
            "POST", "/runs/table", params={"app": server.app}, content=table, headers=headers
        ), table[:80]


def test_head_answers_as_get_without_a_body(server: Server) -> None:
    paths = [
        "/runs",
        f"/runs/{server.run}",
        f"/runs/{server.run}/tasks",
        f"/runs/{server.run}/results",
        "/apps",
        "/sites",
    ]
    paths += [
        f"/tasks/{server.run}.0",
        f"/tasks/{server.run}.0/logs/stdout",
        "/openapi.json",
        "/health",
        "/nothing",
        "/runs/x",
        "/runs?limit=x",
    ]
    for path in paths:
        same = {"X-Request-ID": "the-same-id"}
        got = server.ask("GET", path, 200, 400, 404, headers=same)
        head = server.ask("HEAD", path, 200, 400, 404, headers=same)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers == got.headers, path
    follow = server.ask("HEAD", f"/tasks/{server.run}.0/logs/stdout/follow", 200)  # the body of a GET would not end
    assert (follow.content, follow.headers["Content-Type"]) == (b"", "text/event-stream; charset=utf-8")
    assert server.http.head("/api/v1/runs").status_code == 401


ALLOWED = [
    ("/runs", "GET, POST, HEAD, OPTIONS"),
    ("/runs/table", "GET, POST, HEAD, OPTIONS"),  # there may be a run of any id
    ("/runs/r-1/cancel", "POST, OPTIONS"),
    ("/runs/r-1/results", "GET, HEAD, OPTIONS"),
    ("/tasks/r-1.0/files/a/b/c", "GET, HEAD, OPTIONS"),
    ("/health", "GET, HEAD, OPTIONS"),
]


def test_methods_that_a_path_does_not_have_are_refused_with_those_that_it_has(server: Server) -> None:
    for path, allowed in ALLOWED:
        _has_only(server, path, allowed)
    server.refused("OPTIONS", "/nothing", 404)


def _has_only(server: Server, path: str, allowed: str) -> None:
    options = server.ask("OPTIONS", path, 204)
    assert (options.headers["Allow"], options.content) == (allowed, b"")
    unknown = ["PUT", "DELETE", "PATCH", "TRACE", "FOO", *([] if "GET" in allowed else ["GET", "HEAD"])]
    for method in unknown:
        answer = server.ask(method, path, 405)
        assert answer.headers["Allow"] == allowed
        assert method == "HEAD" or answer.json()["error"]["code"] == "method_not_allowed"


def test_a_slash_too_many_leads_to_where_it_should_on_the_same_host(server: Server) -> None:
    answer = server.ask("POST", "/runs/?a=%00&b=%C3%A9", 307, headers={"Host": "elsewhere.example"})
    assert answer.headers["Location"] == "/api/v1/runs?a=%00&b=%C3%A9"
    server.refused("GET", "/nothing/", 404)
    server.refused("GET", "//", 404)
