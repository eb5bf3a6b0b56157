"""Runs of one task that arrive at a server from eight clients at once, on both databases."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from bench.harness import Figures, folder, postgres, record, scaled, true_app
from bench.server import Server, served_apps

CLIENTS = 8
SECONDS = scaled(20, least=2)


def measure() -> Figures:
    """runs_per_s: the lower of both. The engine works on the runs meanwhile; both databases wait for the disk."""
    with postgres(durable=True) as url:
        rates = {"sqlite": _rate(None), "postgresql": _rate(url)}
    figures = {f"runs_per_s_{name}": round(rate, 1) for name, rate in rates.items()}
    figures["runs_per_s"] = min(figures.values())
    record("arrivals", figures, {"seconds": SECONDS, "rates": rates})
    return figures


def _rate(database: str | None) -> float:
    """Accepted runs a second; each client has a token and a connection of its own, and submits one after the other."""
    with folder() as home, served_apps(home, [true_app(home / "apps")], database) as server:
        tokens = [server.new_token(f"user{index}") for index in range(CLIENTS)]
        server.client.run("true", over=[{"i": 0}]).wait()  # warm up
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            accepted = sum(pool.map(lambda token: _submit(server, token, began + SECONDS), tokens))
        return accepted / (time.monotonic() - began)


def _submit(server: Server, token: str, until: float) -> int:
    """Submits until then, by plain HTTP: a client of ours would take more of the machine than its server."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    accepted = 0
    while time.monotonic() < until:
        connection.request("POST", "/api/v1/runs", json.dumps({"app": "true", "params": {"i": accepted}}), headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 201:
            raise RuntimeError(f"a run was not accepted: {response.status} {body[:500]!r}")
        accepted += 1
    connection.close()
    return accepted
