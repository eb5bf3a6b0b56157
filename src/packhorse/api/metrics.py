"""``/metrics``: a server's figures in the text form of Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from packhorse.api.deps import AsUser
from packhorse.engine.requests.figures import Figures, LatestFigures

_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COMMAND_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

router = APIRouter(tags=["about"])


class Metrics:
    """The figures of one process: those that it counts itself, and those that the store has."""

    def __init__(self) -> None:
        self.latest = LatestFigures()
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Histogram(
            "packhorse_request_seconds", "Time to answer a request, up to its last byte.",
            ["method", "route", "status"], buckets=_REQUEST_S, registry=registry,
        )  # fmt: skip
        self._commands = Histogram(
            "packhorse_scheduler_command_seconds", "Time that a command of a batch scheduler took.",
            ["site", "command"], buckets=_COMMAND_S, registry=registry,
        )  # fmt: skip
        self._failed = Counter(
            "packhorse_scheduler_command_failures", "Commands of a batch scheduler that failed.",
            ["site", "command"], registry=registry,
        )  # fmt: skip
        self._tasks = Gauge("packhorse_tasks", "Tasks that have not ended.", ["site", "state"], registry=registry)
        self._allocations = Gauge(
            "packhorse_allocations", "Allocations that have not ended.", ["site", "state"], registry=registry
        )
        self._waits = Gauge(
            "packhorse_queue_wait_seconds", "Time from submission to start, of allocations of the last hour.",
            ["site", "quantile"], registry=registry,
        )  # fmt: skip
        self._use = Gauge(
            "packhorse_allocation_use_ratio", "Part of the core-time paid in the last hour that tasks had.",
            ["site"], registry=registry,
        )  # fmt: skip

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route`` is a path as declared: there are as many as endpoints."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def command(self, site: str, command: str, seconds: float, failed: bool) -> None:
        """A scheduler was asked something."""
        self._commands.labels(site, command).observe(seconds)
        if failed:
            self._failed.labels(site, command).inc()

    def text(self, figures: Figures) -> bytes:
        """All of it."""
        for gauge in (self._tasks, self._allocations, self._waits, self._use):
            gauge.clear()
        for (site, state), number in figures.tasks.items():
            self._tasks.labels(site, state).set(number)
        for (site, state), number in figures.allocations.items():
            self._allocations.labels(site, state).set(number)
        for site, waits_s in figures.waits_s.items():
            for quantile, seconds in zip(("0.5", "0.9", "1"), waits_s, strict=True):
                self._waits.labels(site, quantile).set(seconds)
        for site, part in figures.use.items():
            self._use.labels(site).set(part)
        return generate_latest(self._registry)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(service: AsUser, request: Request) -> Response:
    """Tasks by state, waits in queues, use of allocations, commands of schedulers, times of requests; for admins,
    read-only ones too.
    """
    found: Metrics = request.app.state.metrics
    figures = service.watching.figures(found.latest)
    return Response(found.text(figures), media_type=CONTENT_TYPE_LATEST)
