"""Uploads, results and failures of the API: limits, streams, and what a client is told when we break."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from packhorse.api import bodies
from packhorse.api.app import create_app
from packhorse.api.bodies import read_rows
from packhorse.api.results import as_csv, as_json_lines, begun
from packhorse.domain.errors import InvalidRequest, NotAuthenticated, NotFound
from packhorse.domain.users import User
from packhorse.domain.views import RunView


class Tokens:
    """One token, for one user."""

    def who(self, token: str) -> User:
        if token != "ph_secret":
            raise NotAuthenticated("The token is not known here.")
        return User("alice")


class Fake:
    """A service that counts the rows it is given."""

    def as_user(self, user: User) -> Fake:
        self.user = user
        return self

    def body_bytes(self, most: int) -> int:
        return most

    def submit(self, request: Any, rows: Iterator[dict[str, Any]] | None = None) -> RunView:
        number = sum(1 for _ in rows) if rows is not None else 1
        return RunView(
            id="r-1",
            user=self.user.name,
            name=request.name,
            app=request.app,
            created_at=0,
            ended_at=None,
            retry_of=None,
            tasks=number,
            counts={},
        )

    def results(self, run_id: str) -> Iterator[dict[str, Any]]:
        if run_id != "r-1":
            raise NotFound(f"There is no run '{run_id}'.")
        yield result(0, None)
        yield result(1, {"i": "taken", "growth": float("nan"), "genes": ["a", "b"]})

    def run(self, _run_id: str) -> RunView:
        raise RuntimeError("a secret of ours: ph_secret")


def result(index: int, value: Any) -> dict[str, Any]:
    return {
        "index": index,
        "task": f"r-1.{index}",
        "name": None,
        "state": "COMPLETE",
        "params": {"i": index},
        "result": value,
        "files": [],
        "reason": None,
    }


@pytest.fixture
def http() -> TestClient:
    app = create_app(Fake(), Tokens())  # type: ignore[arg-type]
    return TestClient(app, raise_server_exceptions=False, headers={"Authorization": "Bearer ph_secret"})


def upload(http: TestClient, content: Any, kind: str = "text/csv", **query: str) -> Any:
    return http.post(
        "/api/v1/runs/table", params={"app": "t", **query}, content=content, headers={"Content-Type": kind}
    )


def test_a_large_table_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"".join(b'{"gene": "b%07d", "medium": "glucose"}\n' % number for number in range(50_000)))
    with path.open("rb") as body:
        tracemalloc.start()
        assert sum(1 for _ in read_rows("application/x-ndjson", body)) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("text/csv", b"", "its first line names the parameters"),
        ("text/csv", b"a,a\n1,2\n", "The table, line 1: a column name is there twice: 'a', in columns 1 and 2."),
        ("text/csv", b"a,b\n1,2\n3\n", "The table, line 3: 1 value, but the header names 2."),
        ("text/csv", b"a\xff\n1\n", "The table, line 1: is not UTF-8 text: it has the byte 0xff. Save it as UTF-8."),
        ("application/x-ndjson", b'{"a": 1}\nx\n', "The table, line 2: not JSON (expecting value, column 1)."),
        (
            "application/x-ndjson",
            b"[" * 200_000,
            "The table, line 1: not JSON that can be read (it is nested too deeply).",
        ),
        ("application/x-ndjson", b"[1]\n", "The table, line 1: expected a JSON object with parameters as keys."),
        ("text/csv", b"a;b\n1;2\n", "The table, line 1: values seem to be separated by semicolons"),
        ("text/csv", b'a,b\n1,"2\n', "The table, line 2: a quote that begins in this row never ends."),
        ("text/csv", gzip.compress(b"a\n1\n", mtime=0)[:-9], "the gzip file is cut short"),
        ("application/x-ndjson", b'{"a": 1, "a": 2}', "The table, line 1: the key 'a' is there twice in one object."),
        ("text/plain", b"a\n1\n", "A table of type 'text/plain' cannot be read."),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(http: TestClient, kind: str, content: bytes, words: str) -> None:
    answer = upload(http, content, kind)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_blank_rows_of_an_upload_are_left_out_and_the_answer_says_so(http: TestClient) -> None:
    answer = upload(http, b"a,b\n1,2\n,\n , \n3,4\n").json()
    assert (answer["tasks"], answer["notes"]) == (2, ["2 blank rows left out."])
    assert upload(http, b"a\tb\n1\t2\n", "text/tab-separated-values").json()["notes"] == []


def test_a_table_may_be_compressed(http: TestClient) -> None:
    content = gzip.compress(b"a\n" + b"1\n" * 1000)
    answer = http.post(
        "/api/v1/runs/table?app=t", content=content, headers={"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    )
    assert answer.json()["tasks"] == 1000
    answer = http.post(
        "/api/v1/runs/table?app=t", content=content, headers={"Content-Type": "text/csv", "Content-Encoding": "br"}
    )
    assert "A table in the encoding 'br' cannot be read." in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            '{"app": "t",\n"app": "u"}',
            "line 2, field 'app': is there twice: it is in line 1 already. Keep one of them.",
        ),
        ('{"app": "t", "over": [{"a": 1}, {"b": [{"c": 1, "c": 2}]}]}', "line 1, field 'over.1.b.0.c': is there twice"),
        ("{" + '"a": {' * 200_000, "it is nested too deeply"),
        ('{"app": "t"', "The body is not JSON (it ends too early, line 1, column 12)."),
        (
            '{"app": "t", "retry": {"app": "1_0"}}',
            "field 'retry.app': expected a whole number written in the digits 0 to 9, found '1_0'.",
        ),
        ('{"app": "t", "retry": {"app": 1e999}}', "$.retry.app is Infinity"),
        ('{"app": "t", "retry": {"app": true}}', "field 'retry.app': expected a whole number, found true."),
        ('{"app": "t", "gather": "maybe"}', "field 'gather': expected true or false, found 'maybe'."),
        ('{"app": 1, "over": {}}', "field 'over': expected a list (found: a mapping)."),
        ('{"app": "t", "over": [1]}', "field 'over.0': expected a mapping from names to values (found: 1)."),
        (
            '{"tasks": [{"name": "a", "task": {"executors": [{"command": []}]}}]}',
            "task 'a', field 'task.executors[0].command': expected at least",
        ),
    ],
)
def test_what_is_wrong_with_a_body_is_said_in_its_own_words(http: TestClient, body: str, words: str) -> None:
    answer = http.post("/api/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    said = error["message"] + "".join(f"\n{one['where']}: {one['what']} {one['hint']}" for one in error["problems"])
    assert words in said
    assert "Input should" not in said


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "runs?limit=1_0",
            "the query parameter 'limit': expected a whole number written in the digits 0 to 9, found '1_0'.",
        ),
        ("runs?limit=0", "the query parameter 'limit': expected a number at least 1 (found: '0')."),
    ],
)
def test_what_is_wrong_with_a_query_is_said_in_words(http: TestClient, path: str, words: str) -> None:
    (problem,) = http.get(f"/api/v1/{path}").json()["error"]["problems"]
    assert f"{problem['where']}: {problem['what']}" == words


@pytest.mark.parametrize(
    "query", [{"params": "{"}, {"params": "[]"}, {"tags": '{"a": 1}'}, {"session": "tea"}, {"resources": "7"}]
)
def test_wrong_options_of_a_table_are_refused(http: TestClient, query: dict[str, str]) -> None:
    assert upload(http, b"i\n1\n", **query).status_code == 400


def test_a_table_over_the_limit_is_refused_however_it_comes(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_TABLE_BYTES", 1000)
    assert upload(http, b"i\n" * 1000).status_code == 413  # announced
    answer = upload(http, iter([b"i\n" * 100] * 10))  # not announced: no Content-Length
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_nobody_makes_us_read_a_body_without_a_token(http: TestClient) -> None:
    def body() -> Iterator[bytes]:
        yield b"i\n"
        raise AssertionError("the body was read")

    http.headers.pop("Authorization")
    assert upload(http, body()).status_code == 401


def test_results_are_json_lines_or_a_table(http: TestClient) -> None:
    lines = [json.loads(line) for line in http.get("/api/v1/runs/r-1/results").text.splitlines()]
    assert [line["index"] for line in lines] == [0, 1]
    assert lines[1]["result"]["growth"] is None  # NaN is no JSON
    rows = list(csv.DictReader(io.StringIO(http.get("/api/v1/runs/r-1/results", headers={"Accept": "text/csv"}).text)))
    assert list(rows[0]) == ["index", "task", "state", "reason", "i", "result.i", "growth", "genes"]
    assert (rows[1]["i"], rows[1]["result.i"], rows[1]["genes"]) == ("1", "taken", '["a","b"]')


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
def test_results_of_a_run_that_is_not_there_are_a_404_and_not_half_an_answer(http: TestClient, accept: str) -> None:
    assert http.get("/api/v1/runs/r-2/results", headers={"Accept": accept}).status_code == 404


def test_results_stream_in_pieces() -> None:
    documents = [result(index, {"text": "x" * 100}) for index in range(5000)]
    for pieces in (list(begun(as_json_lines(documents))), list(as_csv(lambda: documents))):
        assert len(pieces) > 5
        assert max(map(len, pieces)) < 100_000
        assert b"".join(pieces).count(b"\n") in (5000, 5001)


def test_what_breaks_is_an_id_for_the_client_and_a_traceback_for_us(
    http: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = http.get("/api/v1/runs/r-1?why=ph_query")
    error = answer.json()["error"]
    logged = "".join(capsys.readouterr())
    error_id = error["message"].partition("(request ")[2].partition(")")[0]
    assert (answer.status_code, error["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
    assert error_id in logged
    assert "ph_query" not in logged, "queries are not logged"
    assert "Bearer" not in logged


def test_the_description_names_the_bodies_that_we_read_ourselves(http: TestClient) -> None:
    document = http.get("/api/v1/openapi.json").json()
    assert {"RunRequest", "AppRun", "TaskRun"} <= set(document["components"]["schemas"])
    assert all(operation.get("summary") for methods in document["paths"].values() for operation in methods.values())


def test_a_download_is_never_shown_as_a_page(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text("<script>")
    files = SimpleNamespace(output_path=lambda _task, path: tmp_path / path)
    fake = SimpleNamespace(as_user=lambda _user: files)
    http = TestClient(create_app(fake, Tokens()), headers={"Authorization": "Bearer ph_secret"})  # type: ignore[arg-type]
    answer = http.get("/api/v1/tasks/r-1.0/files/x.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert http.get("/api/v1/tasks/r-1.0/files/.").status_code == 404  # a folder


def test_a_table_type_is_needed() -> None:
    with pytest.raises(InvalidRequest, match="unknown"):
        read_rows("", io.BytesIO())
