"""Reads request bodies within limits:

JSON at once, tables through a temporary file, so that a million rows need little memory.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from typing import IO, Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from packhorse.api.deps import AsUser
from packhorse.domain.errors import InvalidRequest, PackhorseError, TooLarge, TooSlow
from packhorse.domain.jsontext import read_json
from packhorse.domain.problems import Model, validated
from packhorse.domain.run import SubmittedRun
from packhorse.domain.submitted import run_of
from packhorse.domain.tables import Form, Table
from packhorse.domain.text import value_problem

MAX_JSON_BYTES = 64_000_000
MAX_DOCUMENT_BYTES = 1_000_000
MAX_TABLE_BYTES = 1_000_000_000
MAX_RUNS = 10_000  # in one request
_IN_MEMORY_BYTES = 4_000_000
_PATIENCE_S = 30.0  # for the next piece of a body
_LEAST_PER_S = 1000  # bytes on average, after that time
_VALUES = frozenset({"params", "over"})
_FORMS = {
    "text/csv": Form.CSV,
    "text/tab-separated-values": Form.TSV,
    "application/x-ndjson": Form.JSON_LINES,
    "application/jsonl": Form.JSON_LINES,
}


async def read_body(request: Request, limit: int, hint: str) -> IO[bytes]:
    """The body in a temporary file (in memory while small), read from its beginning.

    Raises TooLarge as soon as it is over ``limit``.
    """
    too_large = TooLarge(f"The body is larger than {limit:,} bytes.", hint=hint)
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise too_large
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115  whoever reads the body closes it
    size = 0
    began, loop = time.monotonic(), asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE_S) as patience:  # anyio's takes ten times as long
            async for chunk in request.stream():
                size += len(chunk)
                if size < _LEAST_PER_S * (time.monotonic() - began - _PATIENCE_S):
                    raise TimeoutError
                if size > limit:
                    raise too_large
                if size <= _IN_MEMORY_BYTES:
                    file.write(chunk)
                else:  # that may wait for the disk
                    patience.reschedule(None)
                    await run_in_threadpool(file.write, chunk)
                patience.reschedule(loop.time() + _PATIENCE_S)
    except ClientDisconnect:
        file.close()
        raise InvalidRequest("The body ended early.") from None
    except TimeoutError:
        file.close()
        raise TooSlow("The body came too slowly.", hint="Send it again, or send less.") from None
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


async def json_body(request: Request, service: AsUser) -> IO[bytes]:
    """A JSON body. Depends on the user, so that nobody else makes us read it."""
    limit = service.body_bytes(MAX_JSON_BYTES)
    return await read_body(request, limit, "Send a large table to POST /api/v1/runs/table.")


async def table_body(request: Request, service: AsUser) -> IO[bytes]:
    """A table's body."""
    return await read_body(request, service.body_bytes(MAX_TABLE_BYTES), "Submit it as several runs.")


JsonBody = Annotated[IO[bytes], Depends(json_body)]
TableBody = Annotated[IO[bytes], Depends(table_body)]


def read_document(model: type[Model], body: IO[bytes], message: str) -> Model:
    """A small JSON body as ``model``; it is closed. Raises InvalidRequest, TooLarge."""
    with body:
        document = read_json(body.read(MAX_DOCUMENT_BYTES + 1), "The body", MAX_DOCUMENT_BYTES)
    _refuse_odd(document, "The body")
    return validated(model, document, message)


def parse_run(body: IO[bytes]) -> SubmittedRun:
    """The run that a JSON body asks for."""
    return _run_of(read_json(body.read(), "The body", MAX_JSON_BYTES), "The body")


def _run_of(document: Any, which: str) -> SubmittedRun:
    if isinstance(document, dict):
        # values of parameters are looked at with their rows: among them may be names of files
        _refuse_odd({name: value for name, value in document.items() if name not in _VALUES}, which)
    return run_of(document)


def parse_runs(body: IO[bytes]) -> list[SubmittedRun | PackhorseError]:
    """The runs that a JSON list asks for; one that asks for none is its refusal. Raises TooLarge, InvalidRequest."""
    documents = read_json(body.read(), "The body", MAX_JSON_BYTES)
    if not isinstance(documents, list):
        hint = "Send [RUN, RUN, ...], each as POST /api/v1/runs has it."
        raise InvalidRequest("The body is no list of runs.", hint=hint)
    if len(documents) > MAX_RUNS:
        hint = "Send them in several requests."
        raise TooLarge(f"The body has {len(documents):,} runs; the limit is {MAX_RUNS:,}.", hint=hint)
    return [_run_or_refusal(document) for document in documents]


def _run_or_refusal(document: Any) -> SubmittedRun | PackhorseError:
    try:
        return _run_of(document, "The run")
    except PackhorseError as error:
        return error


def parse_tes_task(body: IO[bytes]) -> Any:
    """The TES document in a JSON body."""
    return read_json(body.read(), "The body", MAX_JSON_BYTES)


def parse_tes_tasks(body: IO[bytes]) -> list[Any]:
    """The TES documents of ``{"tasks": [...]}``. Raises TooLarge, InvalidRequest."""
    document = read_json(body.read(), "The body", MAX_JSON_BYTES)
    tasks = document.get("tasks") if isinstance(document, dict) and set(document) == {"tasks"} else None
    if not isinstance(tasks, list):
        raise InvalidRequest("The body is not a list of tasks.", hint='Send {"tasks": [TASK, TASK, ...]}.')
    if len(tasks) > MAX_RUNS:
        hint = "Send them in several requests."
        raise TooLarge(f"The body has {len(tasks):,} tasks; the limit is {MAX_RUNS:,}.", hint=hint)
    return tasks


def _refuse_odd(value: Any, which: str) -> None:
    if why := value_problem(value):
        raise InvalidRequest(f"{which} cannot be accepted: {why}.")


def parse_object(name: str, text: str) -> dict[str, Any]:
    """A query parameter that is a JSON object."""
    which = f"The query parameter '{name}'"
    value = read_json(text, which, MAX_JSON_BYTES)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{which} is not a JSON object.")
    if name != "params":
        _refuse_odd(value, which)
    return value


def read_rows(content_type: str, body: IO[bytes], encoding: str = "") -> Table:
    """The rows of an uploaded table, one at a time; compressed or not."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _FORMS:
        raise InvalidRequest(
            f"A table of type '{kind[:60] or 'unknown'}' cannot be read.",
            hint="Send 'text/csv' or 'application/x-ndjson' as Content-Type.",
        )
    if encoding.strip().lower() not in ("", "identity", "gzip", "x-gzip"):
        raise InvalidRequest(
            f"A table in the encoding '{encoding[:60]}' cannot be read.", hint="Send it as it is, or with gzip."
        )
    return Table(body, "The table", _FORMS[kind])
