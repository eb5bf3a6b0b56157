"""The one logging set-up: structured events on stderr, warnings only unless a server asks for more."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from packhorse.domain.text import dumps


def _json(event: Any, **_: Any) -> str:
    return dumps(event)


def configure_logs(*, level: int = logging.WARNING, as_json: bool = False) -> None:
    """Events at ``level`` and above go to stderr, as text for people or as JSON lines."""
    renderer = structlog.processors.JSONRenderer(serializer=_json) if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def quiet_unless_configured() -> None:
    """For embedding in somebody's program: leaves a set-up that is there alone."""
    if not structlog.is_configured():
        configure_logs()
