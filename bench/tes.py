"""GA4GH TES: tasks that arrive one by one while others run, as many in one native run, and lists of a million."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from bench.harness import Figures, folder, postgres, record, scaled
from bench.server import Server, served_apps

CLIENTS = 8
SECONDS = scaled(20, least=2)
TASKS = scaled(2000, least=20)
ROUNDS = 3
_TES = "/ga4gh/tes/v1"
_TRUE = {"name": "true", "tags": {"bench": "tes"}, "executors": [{"command": ["/bin/true"]}]}


def measure() -> Figures:
    """tes_creates_per_s: the lower of both databases, which both wait for the disk. tes_vs_native: the median."""
    with postgres(durable=True) as url:
        rates = {"sqlite": _rate(None), "postgresql": _rate(url)}
    rounds = [_against_native() for _ in range(ROUNDS)]
    figures = {f"tes_creates_per_s_{name}": round(rate, 1) for name, rate in rates.items()}
    figures["tes_creates_per_s"] = min(figures.values())
    figures["tes_vs_native"] = round(median(tes / native for tes, native in rounds), 2)
    record("tes", figures, {"seconds": SECONDS, "rates": rates, "tasks": TASKS, "rounds": rounds})
    return figures


def _rate(database: str | None) -> float:
    """Accepted tasks a second; each client submits one after the other, and the engine works on them meanwhile."""
    with folder() as home, served_apps(home, [], database) as server:
        tokens = [server.new_token(f"user{index}", admin=True) for index in range(CLIENTS)]
        _wait_for(server, [_create(_connect(server), tokens[0])], tokens[0])  # warm up
        began = time.monotonic()

        def submit(token: str) -> int:
            connection, accepted = _connect(server), 0
            while time.monotonic() < began + SECONDS:
                _create(connection, token)
                accepted += 1
            connection.close()
            return accepted

        with ThreadPoolExecutor(CLIENTS) as pool:
            accepted = sum(pool.map(submit, tokens))
        return accepted / (time.monotonic() - began)


def _against_native() -> tuple[float, float]:
    """Seconds of TES tasks, one request each, from the first request to the last end; and of one run of as many."""
    with folder() as home, served_apps(home, []) as server:
        token = server.new_token("root", admin=True)
        _wait_for(server, [_create(_connect(server), token)], token)  # warm up

        def submit(number: int) -> list[str]:
            connection = _connect(server)
            return [_create(connection, token) for _ in range(number)]

        def all_of_tes() -> None:
            parts = [TASKS // CLIENTS + (index < TASKS % CLIENTS) for index in range(CLIENTS)]
            with ThreadPoolExecutor(CLIENTS) as pool:
                ids = [task for some in pool.map(submit, parts) for task in some]
            _wait_for(server, ids, token)

        def native() -> None:
            run = server.client.run_tasks([{"executors": _TRUE["executors"]}] * TASKS)
            run.wait()

        before = _timed(native)
        tes = _timed(all_of_tes)
        return tes, (before + _timed(native)) / 2


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)


def _create(connection: http.client.HTTPConnection, token: str) -> str:
    """Plain HTTP: a TES client would take more of the machine than the server."""
    return str(_ask(connection, token, "POST", "/tasks", json.dumps(_TRUE))["id"])


def _ask(connection: http.client.HTTPConnection, token: str, method: str, path: str, body: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, _TES + path, body, headers)
    response = connection.getresponse()
    said = response.read()
    if response.status != 200:
        raise RuntimeError(f"{method} {path} was refused: {response.status} {said[:500]!r}")
    return json.loads(said)


def _wait_for(server: Server, ids: list[str], token: str) -> None:
    """Until the last of them is complete, asked for as clients do; every one must be."""
    connection, left = _connect(server), list(ids)
    while left:
        state = _ask(connection, token, "GET", f"/tasks/{left[-1]}")["state"]
        if state == "COMPLETE":
            left.pop()
        elif state in ("QUEUED", "INITIALIZING", "RUNNING"):
            time.sleep(0.02)
        else:
            raise RuntimeError(f"task {left[-1]} ended as {state}")
    connection.close()
