"""A server in a process of its own, and the Python client over HTTP: the same user stories as without one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from packhorse.client import Client
from packhorse.domain.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from packhorse.domain.states import TaskState
from tests.fixtures.room import make_app, wait_for

GATHER = (
    "outputs:\n  said: {from: stdout, type: json}\ngather:\n  command: [cp, '{results}', all.jsonl]\n  outputs: {all:"
    " {path: all.jsonl}}\n"
)


class Server:
    """``packhorse serve`` on a loopback port."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
        self.log = home.parent / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "packhorse.cli.main",
                    "serve",
                    "--port",
                    self.url.rpartition(":")[2],
                    "--json-logs",
                ],
                env={**environment, "PACKHORSE_HOME": str(home)},
                stderr=log,
            )
        wait_for(self._answers, 30, "the server")
        self.token = (home / "token").read_text().strip()

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/api/v1/health").status_code == 200
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "home")
    yield server
    server.process.terminate()
    assert server.process.wait(30) == 0, "SIGTERM ends it in order"
    assert server.token not in server.log.read_text(), "no token in a log"


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(url=server.url, token=server.token) as client:
        yield client


def test_a_table_its_results_and_what_was_gathered(client: Client, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[/bin/echo, '{i}']", more=GATHER)
    run = client.run(app, over=[{"i": index} for index in range(60)], name="served").wait()
    assert run.view.counts == {TaskState.COMPLETE: 61}
    assert [row["result"] for row in run.table()] == list(range(60))
    assert len(run.gathered()["all"].read_text().splitlines()) == 60
    assert run.usage().attempts == 61
    assert next(client.runs()).id == run.id
    assert client.get(run.id).logs(5) == "5\n"


def test_a_failure_is_listed_with_its_reason_and_tried_again(client: Client, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    run = client.run(make_app(tmp_path / "app", command=f"[test, -e, '{flag}']"), over=[{"i": 1}]).wait()
    assert [task.reason for task in run.failed()] == ["It ended with exit code 1."]
    flag.touch()
    assert run.retry().wait().view.counts == {TaskState.COMPLETE: 1}


def test_a_log_is_followed_by_server_sent_events_and_taken_up_again(
    client: Client, server: Server, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", command="[/bin/sh, -c, 'echo one; sleep 1.5; echo two']")
    run = client.run(app, over=[{"i": 1}])
    url = f"{server.url}/api/v1/tasks/{run.id}.0/logs/stdout/follow"
    headers = {"Authorization": f"Bearer {server.token}"}

    def follow(**more: str) -> tuple[str, list[str], list[str]]:
        text, ids, kinds = "", [], []
        with httpx2.stream("GET", url, headers={**headers, **more}, timeout=30) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "data" and value.startswith('"'):
                    text += json.loads(value)
                elif field == "id":
                    ids.append(value)
                elif field == "event":
                    kinds.append(value)
        return text, ids, kinds

    text, ids, kinds = follow()
    assert (text, kinds[-1]) == ("one\ntwo\n", "end")
    assert len(ids) >= 2, "the first line came before the task ended"
    assert follow(**{"Last-Event-ID": ids[0]})[0] == "two\n"
    assert "".join(piece.decode() for piece in run.iter_logs(0, follow=True)) == "one\ntwo\n"


def test_a_report_and_a_crate_come_over_http(client: Client, tmp_path: Path) -> None:
    run = client.run(make_app(tmp_path / "app", command="[echo, '{i}']"), over=[{"i": 1}, {"i": 2}]).wait()
    assert run.report(tmp_path / "run.html") == tmp_path / "run.html"
    assert f"Run {run.id} of" in (tmp_path / "run.html").read_text()
    folder = run.crate(tmp_path / "crate")
    assert (folder / "ro-crate-preview.html").is_file() and (folder / "apps" / "t" / "app.yaml").is_file()
    with pytest.raises(Conflict):
        run.crate(folder)


def test_a_cancel_over_http(client: Client, tmp_path: Path) -> None:
    run = client.run(make_app(tmp_path / "app", command="[sleep, '600']"), over=[{"i": index} for index in range(10)])
    wait_for(lambda: run.refresh().counts.get(TaskState.RUNNING, 0) > 0, 20, "a running task")
    assert run.cancel().counts == {TaskState.CANCELED: 10}


def test_refusals_are_the_same_exceptions_as_without_a_server(client: Client, server: Server, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[/bin/true]")
    with pytest.raises(InvalidRequest, match="row 2, parameter 'i'"):
        client.run(app, over=[{"i": 1}, {"i": "x"}])
    with pytest.raises(NotFound, match="There is no run"):
        client.get("r-0123456789abcdef")
    with pytest.raises(NotAuthenticated):
        Client(url=server.url, token="wrong").run(app)


@pytest.mark.parametrize(("path", "kind"), [("/runs/table?app={app}", "text/csv"), ("/runs", "application/json")])
def test_a_request_that_is_cut_in_the_middle_of_its_table_leaves_nothing(
    client: Client, server: Server, tmp_path: Path, path: str, kind: str
) -> None:
    before = [run.id for run in client.runs()]
    app = quote(make_app(tmp_path / "app", command="[/bin/true]"))
    lines = ["POST /api/v1" + path.format(app=app) + " HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}",
             f"Authorization: Bearer {server.token}", "Content-Length: 12000000", "", "i\r\n"]  # fmt: skip
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30) as cut:
        cut.sendall("\r\n".join(lines).encode() + b"1\n" * 3_000_000)
    time.sleep(1)  # a server that took what had come would have written it by now
    assert [run.id for run in client.runs()] == before
