"""The client's own decisions: which token goes where, and what a wait bears."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.client import backends, handle
from packhorse.client.answers import server_url
from packhorse.client.backends import HttpBackend
from packhorse.client.client import Client, find_token
from packhorse.client.handle import flat_result
from packhorse.domain.errors import InvalidRequest, Unavailable
from packhorse.domain.run import AppRun
from packhorse.domain.views import RunView
from packhorse.http.client import Http


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PACKHORSE_TOKEN", "PACKHORSE_TOKEN_FILE", "PACKHORSE_URL", "PACKHORSE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PACKHORSE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "token").write_text("ph_owner\n")
    return tmp_path


@pytest.mark.parametrize("url", ["http://127.0.0.1:8765", "http://localhost:8765", "http://[::1]:8765"])
def test_the_owners_token_goes_to_a_server_on_this_machine(url: str) -> None:
    assert find_token(url) == "ph_owner"


@pytest.mark.parametrize(
    "url",
    [
        "https://hpc.example.org",
        "http://192.0.2.1:8765",
        "http://127.0.0.1.example.org",
        "http://127.0.0.1@example.org",
        "nonsense",
    ],
)
def test_the_owners_token_never_leaves_this_machine(url: str) -> None:
    assert find_token(url) is None


def test_a_token_that_was_named_goes_where_the_user_says(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_home / "mine").write_text("ph_mine\n")
    monkeypatch.setenv("PACKHORSE_TOKEN_FILE", str(own_home / "mine"))
    assert find_token("https://hpc.example.org") == "ph_mine"
    monkeypatch.setenv("PACKHORSE_TOKEN", "ph_env")
    assert find_token("https://hpc.example.org") == "ph_env"
    assert find_token("https://hpc.example.org", "ph_given") == "ph_given"


def test_a_token_file_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(InvalidRequest, match="/nowhere/token"):
        find_token("https://hpc.example.org")


class Away:
    """A backend that does not answer now and then."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    @contextmanager
    def working(self) -> Iterator[None]:
        yield

    def run(self, _run_id: str) -> RunView:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("The database does not answer.")
        return view(ended_at=2.0)


def view(**fields: Any) -> RunView:
    values = {
        "id": "r-1",
        "user": "u",
        "name": "n",
        "app": "a@1",
        "created_at": 1.0,
        "ended_at": None,
        "retry_of": None,
        "tasks": 1,
    }
    return RunView.model_validate({**values, "counts": {"COMPLETE": 1}, **fields})


def test_a_wait_outlives_a_server_that_is_away_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "_PAUSE_S", (0.001, 0.1))
    assert handle.RunHandle(Away(3), view()).wait().view.ended  # type: ignore[arg-type]


def test_a_wait_gives_up_on_a_server_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "_PATIENCE_S", 0.0)
    with pytest.raises(Unavailable):
        handle.RunHandle(Away(99), view()).wait()  # type: ignore[arg-type]


def lossy(monkeypatch: pytest.MonkeyPatch, *answers: Exception | int) -> tuple[HttpBackend, list[tuple[str, bytes]]]:
    """A client of a server whose first answers are these; it then accepts. With what it was sent: keys and bodies."""
    monkeypatch.setattr(backends, "_AGAIN_S", (0.0, 0.0, 0.0))
    coming, heard = list(answers), []

    def answer(request: httpx2.Request) -> httpx2.Response:
        heard.append((request.headers["Idempotency-Key"], request.read()))
        now = coming.pop(0) if coming else 201
        if isinstance(now, Exception):
            raise now
        refusal = {"error": {"code": "unavailable", "message": "The database does not answer."}}
        return httpx2.Response(now, json=view().model_dump(mode="json") if now == 201 else refusal)

    backend = HttpBackend("http://server", None)
    backend._http = Http(transport=httpx2.MockTransport(answer))
    return backend, heard


def test_a_submission_whose_answer_is_lost_is_made_again_under_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = httpx2.ReadTimeout("timed out")
    backend, heard = lossy(monkeypatch, lost, httpx2.ConnectError("refused"), 503)
    assert backend.submit(AppRun(app="a"), [{"i": 1}, {"i": 2}]).id == "r-1"
    assert len(heard) == 4 and len(set(heard)) == 1 and heard[0][1] == b'{"i":1}\n{"i":2}\n'
    backend, heard = lossy(monkeypatch, httpx2.RemoteProtocolError("gone"))
    backend.submit(AppRun(app="a", client_key="mine"))
    backend.retry("r-1", "other")
    assert [key for key, _ in heard] == ["mine", "mine", "other"]


def test_two_submissions_without_a_key_are_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, heard = lossy(monkeypatch)
    for _ in range(2):
        backend.submit(AppRun(app="a"))
    assert len({key for key, _ in heard}) == 2


@pytest.mark.parametrize(
    ("answers", "asked"),
    [([httpx2.ConnectError("refused")], 1), ([503], 1), ([httpx2.ReadTimeout("timed out")] * 4, 4)],
)
def test_a_submission_that_cannot_be_made_is_given_up(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any], asked: int
) -> None:
    backend, heard = lossy(monkeypatch, *answers)
    with pytest.raises(Unavailable, match="does not answer"):
        backend.submit(AppRun(app="a"))
    assert len(heard) == asked


def test_no_value_of_a_flat_result_hides_another() -> None:
    row = {
        "index": 3,
        "state": "COMPLETE",
        "name": None,
        "params": {"i": 1, "state": "CA"},
        "result": {"i": "one", "growth": 0.5},
    }
    assert flat_result(row) == {
        "index": 3, "state": "COMPLETE", "i": 1, "params.state": "CA", "result.i": "one", "growth": 0.5
    }  # fmt: skip


def test_a_run_in_a_notebook_is_escaped() -> None:
    shown = handle.RunHandle(Away(0), view())  # type: ignore[arg-type]
    monkey = view(name="<script>alert(1)</script>", ended_at=2.0)
    shown._backend.run = lambda _run_id: monkey  # type: ignore[method-assign]
    assert "<script>" not in shown._repr_html_()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("packhorse.example.org", "is not the URL of a server"),
        ("localhost:8765", "is not the URL of a server"),
        ("", "is not the URL of a server"),
        ("ftp://h", "is not the URL of a server"),
        ("http://", "is not the URL of a server"),
        ("http://:80", "is not the URL of a server"),
        ("http://h:0", "is not the URL of a server"),
        ("http://a b", "is not the URL of a server"),
        ("http://h/\x1b[31m", "is not the URL of a server"),
        ("http://h:99999", "cannot be read"),
        ("http://h:port", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://ana:hunter2@h", "holds a name or a password"),
        ("ana:hunter2@h", "holds a name or a password"),
        ("http://h/?token=x", "goes on after its path"),
        ("http://h/#x", "goes on after its path"),
    ],
)
def test_urls_that_are_no_servers(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest) as refused:
        server_url(url)
    assert words in str(refused.value) and refused.value.hint and "hunter2" not in str(refused.value)
    assert str(refused.value).isprintable()
    if url:
        with pytest.raises(InvalidRequest, match=words):
            Client(url)
        monkeypatch.setenv("PACKHORSE_URL", url)
        with pytest.raises(InvalidRequest, match=words):
            Client()


@pytest.mark.parametrize(
    "url", ["http://h", "HTTPS://h:8/", " http://[::1]:8/a/b// ", "http://h?", "http://bücher.example"]
)
def test_urls_that_may_be_servers(url: str) -> None:
    assert not server_url(url).endswith(("/", "?", " "))


@pytest.mark.parametrize("token", ["a b", "a\nb", "ü", "\udce9"])
def test_a_token_that_cannot_be_one(token: str) -> None:
    with pytest.raises(InvalidRequest, match="characters that no token has") as refused:
        HttpBackend("http://h", token)
    assert token not in str(refused.value)


@given(st.text() | st.from_regex(r"https?://[a-z:@\[\]0-9.%/]*"))
def test_no_url_of_a_server_is_too_odd(url: str) -> None:
    try:
        server_url(url)
    except InvalidRequest:
        pass


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"over": 5}, "'over' is no table: found 5."),
        ({"over": {"a": 1}}, "'over' is one mapping; a table is a list of them."),
        ({"params": [1]}, "'params' is no mapping: found a list. params={...}"),
        ({"params": {"a": b"x"}}, "params, parameter 'a': a value of type bytes cannot be passed to a task."),
        ({"tags": {"a": 1}}, "argument 'tags.a': expected text in quotes (found: 1)."),
        ({"name": 5}, "argument 'name': expected text in quotes (found: 5)."),
        ({"session": "tea"}, "argument 'session': expected 'none', 'worker' or 'shell' (found: 'tea')."),
        ({"gather": "perhaps"}, "argument 'gather': expected true or false, found 'perhaps'."),
        (
            {"retry": {"app": "1_0"}},
            "argument 'retry.app': expected a whole number written in the digits 0 to 9, found '1_0'.",
        ),
        ({"name": "x" * 300}, "argument 'name': expected text of at most 200 characters"),
    ],
)
def test_what_python_passes_is_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with Client(url="http://127.0.0.1:9") as client, pytest.raises(InvalidRequest) as caught:
        client.run("app", **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (5, "'tasks' is no list of tasks: found 5."),
        ({"name": "a"}, "there is no 'tasks' in it."),
        ([5], "task 1: expected an object with fields, found 5."),
        (
            [{"name": "a", "task": {"executors": [{"command": [1]}]}}],
            "task 'a', field 'task.executors[0].command[0]': expected text in quotes (found: 1).",
        ),
        ([{"name": "a"}], "task 'a', field 'task': is required and missing."),
    ],
)
def test_tasks_of_python_are_refused_in_words(tasks: Any, words: str) -> None:
    with Client(url="http://127.0.0.1:9") as client, pytest.raises(InvalidRequest) as caught:
        client.run_tasks(tasks)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (5, "'steps' is no list of steps: found 5."),
        ({"name": "a"}, "field 'steps'"),
        ([{"name": "a"}], "field 'steps.0.app': is required and missing."),
    ],
)
def test_steps_of_python_are_refused_in_words(steps: Any, words: str) -> None:
    with Client(url="http://127.0.0.1:9") as client, pytest.raises(InvalidRequest) as caught:
        client.run_steps(steps)
    assert words in str(caught.value)


class Expecting:
    """A backend that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any]] = []

    def estimate(self, request: Any, rows: Any = None) -> str:
        self.asked.append((request, None if rows is None else [dict(row) for row in rows]))
        return "expected"

    def close(self) -> None: ...


def test_what_a_run_needs_is_asked_as_it_would_be_submitted() -> None:
    backend: Any = Expecting()
    with Client(url="http://127.0.0.1:9") as client:
        client._backend.close()
        client._backend = backend
        found: Any = client.estimate("squares", [{"x": 1}, {"x": 2}], params={"a": 1}, resources={"ram_gb": 2})
        assert found == "expected"
        wrong: Any = [1]
        with pytest.raises(InvalidRequest, match="'params' is no mapping"):
            client.estimate("squares", params=wrong)
    [(request, rows)] = backend.asked
    assert request == AppRun(app="squares", params={"a": 1}, resources={"ram_gb": 2})
    assert rows == [{"x": 1}, {"x": 2}]
