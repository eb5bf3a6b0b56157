"""OpenTelemetry traces: a span for each request, sent to a collector by OTLP over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from packhorse import __version__
from packhorse.domain.errors import InvalidRequest


class Traces:
    """Where spans go: ``endpoint`` is a collector's URL, such as http://127.0.0.1:4318. Raises InvalidRequest where
    OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            hint = "pip install 'packhorse[otel]', or leave out 'traces' of [server]."
            raise InvalidRequest("Traces need OpenTelemetry, which is not installed.", hint=hint) from None
        resource = Resource.create({"service.name": "packhorse", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("packhorse")

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


class Traced:
    """Makes a span for each request: it continues the trace that the client's ``traceparent`` names, and never has
    headers or queries.
    """

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app, self._tracer = app, traces.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        context = TraceContextTextMapPropagator().extract(headers)
        status = 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        options: Any = {"context": context, "kind": SpanKind.SERVER}
        with self._tracer.start_as_current_span(scope["method"], **options) as span:
            try:
                await self._app(scope, receive, note_status)
            finally:
                route = route_of(scope)
                span.update_name(f"{scope['method']} {route}")
                span.set_attributes(
                    {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
                )
                if (request_id := scope.get("state", {}).get("request_id")) is not None:
                    span.set_attribute("packhorse.request_id", request_id)
                if status >= 500 or not status:
                    span.set_status(Status(StatusCode.ERROR))


def route_of(scope: Scope) -> str:
    """The path of a request's endpoint, as declared: names and ids of users are not in it."""
    route, path = scope.get("route"), scope["path"]
    declared, pattern = getattr(route, "path", None), getattr(route, "path_regex", None)
    if declared is None or pattern is None:
        return "(none)"
    places = (place for place, letter in enumerate(path) if letter == "/")
    # a router knows its own part of the path; what stands before it is declared as it is
    before = next((path[:place] for place in places if pattern.match(path[place:])), "")
    return f"{before}{declared}"
