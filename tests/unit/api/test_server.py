"""What a server tells of itself: request ids, figures, traces, readiness, who may speak to it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from packhorse.api.app import create_app
from packhorse.api.metrics import Metrics
from packhorse.api.peers import networks
from packhorse.api.tracing import Traces
from packhorse.domain.errors import InvalidRequest, Unavailable
from packhorse.engine.requests import figures
from packhorse.engine.timing import TimedScheduler
from packhorse.identity.tokens import Tokens
from packhorse.store.allocations import insert_allocation, update_allocation
from tests.unit.api.test_api import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.room.close()


def test_every_answer_has_the_id_by_which_the_log_knows_it(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    answer = server.ask("GET", "/runs/r-0123456789abcdef")
    request_id = answer.headers["x-request-id"]
    assert answer.json()["error"]["request_id"] == request_id and request_id.startswith("q-")
    assert f"request_id={request_id}" in "".join(capsys.readouterr())
    assert server.ask("GET", "/runs", headers={"X-Request-ID": "abc-12345"}).headers["x-request-id"] == "abc-12345"
    for odd in ("short", "a b c d e f", "x" * 101, "evil\x1b[31m"):
        assert server.ask("GET", "/runs", headers={"X-Request-ID": odd}).headers["x-request-id"].startswith("q-")


def test_a_server_is_ready_while_its_database_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.ask("GET", "/health/ready", user=None).json() == {"ok": True, "why": None}
    monkeypatch.setattr(server.room.database, "answers", lambda: False)
    answer = server.ask("GET", "/health/ready", user=None)
    assert (answer.status_code, answer.json()["why"]) == (503, "its database does not answer")
    assert server.ask("GET", "/health", user=None).status_code == 200, "it lives"


def test_a_server_that_is_shut_down_is_not_ready(server: Server) -> None:
    api = create_app(server.room.service, Tokens(server.room.database), lambda: True)
    answer = TestClient(api).get("/api/v1/health/ready")
    assert (answer.status_code, answer.json()["why"]) == (503, "it is being shut down")


def test_a_database_that_is_away_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.room.database.answers()

    def away(*_: Any) -> Any:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(server.room.database, "read", away)
    assert not server.room.database.answers()


# --- figures ------------------------------------------------------------


def test_figures_are_told_in_the_form_of_prometheus(server: Server) -> None:
    server.submit()
    with server.room.database.write() as connection:
        for seconds in (5.0, 15.0):
            seq = insert_allocation(connection, f"a-{seconds}", "local", '{"cores": 2, "memory_mb": null}', 1e10)
            update_allocation(connection, seq, started_at=1e10 + seconds, state="RUNNING")
    text = server.http.get("/metrics", headers={"Authorization": f"Bearer {server.tokens['root']}"}).text
    assert 'packhorse_tasks{site="local",state="QUEUED"} 2.0' in text
    assert 'packhorse_allocations{site="local",state="RUNNING"} 2.0' in text
    assert 'packhorse_queue_wait_seconds{quantile="1",site="local"} 15.0' in text
    assert re.search(r'packhorse_request_seconds_count\{method="POST",route="/api/v1/runs",status="201"\} 1\.0', text)
    assert "alice" not in text
    assert server.http.get("/metrics", headers={"Authorization": f"Bearer {server.tokens['bob']}"}).status_code == 403


def test_figures_that_take_long_to_count_are_counted_seldom(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, counted = [100.0], [0]

    def slow(_database: Any) -> figures.Figures:
        counted[0] += 1
        clock[0] += 2.0
        return figures.Figures({("here", "QUEUED"): counted[0]})

    monkeypatch.setattr(figures, "figures", slow)
    latest = figures.LatestFigures(lambda: clock[0])
    assert latest.of(server.room.database).tasks == latest.of(server.room.database).tasks == {("here", "QUEUED"): 1}
    clock[0] += 39
    assert latest.of(server.room.database).tasks == {("here", "QUEUED"): 1}
    clock[0] += 2
    assert latest.of(server.room.database).tasks == {("here", "QUEUED"): 2} and counted == [2]


def test_ids_make_no_further_lines(server: Server) -> None:
    for number in range(5):
        server.ask("GET", f"/runs/r-000000000000000{number}")
        server.http.get(f"/nothing/{number}")
    text = server.http.get("/metrics", headers={"Authorization": f"Bearer {server.tokens['root']}"}).text
    found = re.findall(r'^packhorse_request_seconds_count\{.*route="([^"]*)".*404', text, re.MULTILINE)
    assert sorted(found) == ["(none)", "/api/v1/runs/{run_id}"]


def test_commands_of_schedulers_are_timed() -> None:
    class Scheduler:
        name = "slurm"

        def poll(self, _transport: Any, _ids: Any) -> dict[str, Any]:
            return {}

        def submit(self, _transport: Any, _job: Any) -> str:
            raise OSError

    told: list[tuple[Any, ...]] = []
    timed: Any = TimedScheduler(Scheduler(), "here", lambda *one: told.append(one))  # type: ignore[arg-type]
    assert (timed.name, timed.poll(None, [])) == ("slurm", {})
    with pytest.raises(OSError):
        timed.submit(None, None)
    assert [(site, command, failed) for site, command, _, failed in told] == [
        ("here", "poll", False), ("here", "submit", True),
    ]  # fmt: skip
    metrics = Metrics()
    for one in told:
        metrics.command(*one)


# --- traces ------------------------------------------------------------


class Collector:
    """An OpenTelemetry collector that keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        outer.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """It is quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


def test_a_request_is_a_span_of_the_clients_trace(server: Server) -> None:
    collector = Collector()
    traces = Traces(collector.url)
    api = create_app(server.room.service, Tokens(server.room.database), traces=traces)
    http = TestClient(api)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"Authorization": f"Bearer {server.tokens['alice']}", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert http.get("/api/v1/runs?cursor=5", headers=headers).status_code == 200
    assert http.get("/api/v1/runs", headers={"traceparent": "nonsense"}).status_code == 401
    traces.close()
    collector.server.shutdown()
    first, second = collector.spans
    assert first.trace_id.hex() == trace and second.trace_id.hex() != trace
    about = {one.key: one.value.string_value or one.value.int_value for one in first.attributes}
    assert first.name == "GET /api/v1/runs" and about["http.response.status_code"] == 200
    assert about["packhorse.request_id"].startswith("q-")
    assert server.tokens["alice"] not in str(collector.spans) and "cursor" not in str(collector.spans)


# --- who may speak to it ------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 200), ("::ffff:10.1.2.3", 200), ("10.2.0.1", 403), ("odd", 403)],
)
def test_only_trusted_proxies_and_this_machine_are_heard(server: Server, client: str, status: int) -> None:
    checker = Tokens(server.room.database)
    api = create_app(server.room.service, checker, trusted=networks(["10.1.0.0/16"]))
    http = TestClient(api, client=(client, 50000))
    answer = http.get("/api/v1/runs", headers={"Authorization": f"Bearer {server.tokens['alice']}"})
    assert answer.status_code == status
    forged = http.get("/api/v1/health", headers={"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"})
    assert forged.status_code == status, "what a client says of itself does not count"


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/99", "", "*"])
def test_a_trusted_proxy_is_an_address(text: str) -> None:
    with pytest.raises(InvalidRequest, match="trusted_proxies"):
        networks([text])
