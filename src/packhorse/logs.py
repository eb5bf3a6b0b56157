"""The one logging set-up: structured events on stderr, warnings only unless a server asks for more."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from packhorse.domain.plain import plain, plain_lines
from packhorse.domain.text import dumps
from packhorse.terminal import has_colours, write_line


@contextmanager
def _without_rich() -> Iterator[None]:
    """Meanwhile there is no rich, which structlog imports for tracebacks, and we format these ourselves: it takes four
    times as long as structlog itself. Only in the command line's own process: elsewhere structlog may be somebody's,
    and another thread may import rich at this moment.
    """
    if "packhorse.cli" not in sys.modules or "rich" in sys.modules or threading.active_count() > 1:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # what Python takes for a module that cannot be imported
    try:
        yield
    finally:
        del sys.modules["rich"]


with _without_rich():
    import structlog

_BLOCKS = ("exception", "stack")  # several lines, which stand below the event
_INDENT = "    "


def configure_logs(*, level: int = logging.WARNING, as_json: bool = False) -> None:
    """Events at ``level`` and above go to stderr, as text for people or as JSON lines."""
    structlog.configure(
        processors=[*_gather(), *_render(as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )


def take_over_logging(*, as_json: bool = False) -> None:
    """What libraries log through ``logging``, warnings and worse, looks like our own; for a program that is only a
    server.
    """
    handler = _LinesHandler(logging.WARNING)
    unwrap = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[unwrap, *_render(as_json)], foreign_pre_chain=_gather())
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def quiet_unless_configured() -> None:
    """For embedding in somebody's program: leaves a set-up that is there alone."""
    if not structlog.is_configured():
        configure_logs()


def _gather() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def _render(as_json: bool) -> list[Any]:
    if as_json:
        return [structlog.processors.JSONRenderer(serializer=_json)]
    return [_as_shown, structlog.dev.ConsoleRenderer(colors=has_colours(sys.stderr))]


def _json(event: Any, **_: Any) -> str:
    return dumps(event)


class _Word:
    """A value of an event as it is shown: in quotes where it has spaces."""

    def __init__(self, value: object) -> None:
        self._text = plain(value)

    def __repr__(self) -> str:
        return f"'{self._text}'" if not self._text or set(self._text) & set(" ='\"") else self._text


def _as_shown(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Nothing that a user or a task wrote acts upon the terminal, or looks like a line of the log."""
    if "traceback" in event:
        event["exception"] = event.pop("traceback")
    shown: dict[str, Any] = {}
    for key, value in event.items():
        if key in _BLOCKS:
            shown[key] = "\n".join(_INDENT + line for line in plain_lines(value))
        elif key in ("event", "level", "timestamp"):
            shown[key] = plain(value)
        elif isinstance(value, str):
            shown[plain(key)] = _Word(value)
        else:
            shown[plain(key)] = _Word(repr(value)) if not isinstance(value, int | float | bool | None) else value
    return shown


class _Lines:
    """Writes each event as a line on stderr, above a line of progress if there is one."""

    def __init__(self, *_: str) -> None:
        """Names of loggers are not shown."""

    def msg(self, message: str) -> None:
        write_line(sys.stderr, message)

    debug = info = warning = warn = error = critical = fatal = exception = failure = log = msg


class _LinesHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write_line(sys.stderr, self.format(record))
