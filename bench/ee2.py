"""KBase's execution engine: a batch of thousands in one request, who polls it while it runs, and a long log."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from bench.harness import Figures, folder, record, scaled, timed
from bench.server import Server, served_apps

JOBS = scaled(5000)
LOG_BYTES = scaled(1_000_000_000)
ROUNDS = 3
_LINE = 99  # characters
_LINES_AT_ONCE = 50_000
_PAUSE_S = 0.2
#: What a narrative leaves out when it polls.
_EXCLUDED = [
    "authstrat",
    "condor_job_ads",
    "job_input",
    "retry_saved_toggle",
    "scheduler_type",
    "scheduler_id",
    "updated",
]
_OUTPUT = '{{"version": "1.1", "result": [1]}}'
_OVER = ("completed", "error", "terminated")


class Ee2:
    """A client of EE2, over one connection."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=120)
        self._token = server.token

    def call(self, method: str, *params: Any) -> Any:
        """The value of a method."""
        body = json.dumps({"version": "1.1", "id": "1", "method": f"execution_engine2.{method}", "params": params})
        self._connection.request("POST", "/services/ee2", body, {"Authorization": self._token})
        document = json.loads(self._connection.getresponse().read())
        if "error" in document:
            raise RuntimeError(document["error"]["message"])
        return document["result"][0] if document["result"] else None


def measure() -> Figures:
    """ee2_batch_s: ``run_job_batch`` of 5000, median of fresh servers; ee2_poll_ms: ``check_jobs`` of these while they
    run, 99th percentile; log_page_mb: what a server takes above what it held when idle while a log of 1 GB is paged.
    """
    took, polls = list[float](), list[float]()
    for number in range(ROUNDS):
        seconds, more = _batch(poll=number == 0)
        took.append(seconds)
        polls += more
    polls.sort()
    page_mb, per_page = _log()
    figures = {
        "ee2_batch_s": round(median(took), 2),
        "ee2_poll_ms": round(1000 * polls[min(len(polls) - 1, int(len(polls) * 0.99))], 1),
        "log_page_mb": round(page_mb, 1),
    }
    raw = {"jobs": JOBS, "seconds": took, "polls_s": polls, "log_bytes": LOG_BYTES, "seconds_a_page": per_page}
    record("ee2", figures, raw)
    return figures


def _app(where: Path) -> str:
    """A method that leaves its result at once; returns its folder."""
    made = where / "apps" / "bench"
    made.mkdir(parents=True, exist_ok=True)
    manifest = {
        "packhorse": 1,
        "name": "bench",
        "version": "1",
        "command": ["sh", "-c", f"echo '{_OUTPUT}' > work/output.json"],
        "kbase": {"module": "Bench"},
    }
    (made / "app.yaml").write_text(json.dumps(manifest), encoding="utf-8")
    return str(made)


def _jobs(number: int) -> list[dict[str, Any]]:
    cell = {"cell_id": "c", "run_id": "r", "tag": "release"}
    return [
        {"method": "Bench.run", "app_id": "Bench/run", "params": [{"index": index, "workspace": "w"}], "meta": cell}
        for index in range(number)
    ]


def _batch(*, poll: bool) -> tuple[float, list[float]]:
    """(seconds of a batch on a fresh server, those of each poll until it is over)."""
    with folder() as where, served_apps(where, [_app(where)]) as server:
        client = Ee2(server)
        client.call("run_job_batch", _jobs(10), {"wsid": 1})
        told: list[dict[str, Any]] = []
        jobs = _jobs(JOBS)
        seconds = timed(lambda: told.append(client.call("run_job_batch", jobs, {"wsid": 1})))
        return seconds, _polls(client, [told[0]["batch_id"], *told[0]["child_job_ids"]]) if poll else []


def _polls(client: Ee2, jobs: Sequence[str]) -> list[float]:
    asked = {"job_ids": jobs, "exclude_fields": _EXCLUDED, "return_list": 0}
    found = []
    while True:
        began = time.perf_counter()
        states = client.call("check_jobs", asked)
        found.append(time.perf_counter() - began)
        if all(state["status"] in _OVER for state in states.values()):
            return found
        time.sleep(_PAUSE_S)


def _log() -> tuple[float, float]:
    """(MB above idle while a log is paged from its beginning to its end, seconds a page)."""
    with folder() as where:
        app = _app(where)
        with served_apps(where, [app]) as server:
            client = Ee2(server)
            job = client.call("run_job", _jobs(1)[0])
            number = _fill(client, job)
        with served_apps(where, [app]) as server:
            client = Ee2(server)
            client.call("check_job", {"job_id": job})
            idle, seen, pages = server.memory_mb(), 0, 0
            began = time.perf_counter()
            while lines := client.call("get_job_logs", {"job_id": job, "skip_lines": seen})["lines"]:
                if lines[0]["linepos"] != seen:
                    raise RuntimeError(f"the page after line {seen} begins with line {lines[0]['linepos']}")
                seen, pages = seen + len(lines), pages + 1
            if seen < number:
                raise RuntimeError(f"{number} lines were added, and {seen} were paged")
            return server.peak_mb() - idle, (time.perf_counter() - began) / max(1, pages)


def _fill(client: Ee2, job: str) -> int:
    """Adds lines until there are so many bytes; how many lines."""
    text = Random(7).randbytes(_LINE * _LINES_AT_ONCE // 2 + _LINE).hex()  # noqa: S311  no secret
    number = 0
    while number * (_LINE + 1) < LOG_BYTES:
        some = min(_LINES_AT_ONCE, LOG_BYTES // (_LINE + 1) + 1 - number)
        start = number % _LINE
        lines = [{"line": text[at : at + _LINE]} for at in range(start, start + some * _LINE, _LINE)]
        number = int(client.call("add_job_logs", {"job_id": job}, lines)["line_number"])
    return number
