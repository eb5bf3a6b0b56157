"""Reads request bodies within limits: JSON at once, tables through a temporary file, so that a million rows need little memory."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from packhorse.api.auth import CurrentUser
from packhorse.domain.config import problems_of
from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.run import AppRun, TaskRun
from packhorse.domain.submitted import is_tes_task, task_run
from packhorse.domain.text import NotJson, key_twice, parse_json, text_problem, value_problem

MAX_JSON_BYTES = 64_000_000
MAX_TABLE_BYTES = 1_000_000_000
_IN_MEMORY_BYTES = 4_000_000


async def _read_body(request: Request, limit: int, hint: str) -> IO[bytes]:
    """The body in a temporary file (in memory while small), read from its beginning. Raises TooLarge as soon as it is over ``limit``."""
    too_large = TooLarge(f"The body is larger than {limit:,} bytes.", hint=hint)
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise too_large
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115  whoever reads the body closes it
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large
            await run_in_threadpool(file.write, chunk)
    except ClientDisconnect:
        file.close()
        raise InvalidRequest("The body ended early.") from None
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


async def json_body(request: Request, _user: CurrentUser) -> IO[bytes]:
    """A JSON body. Depends on the user, so that nobody else makes us read it."""
    return await _read_body(request, MAX_JSON_BYTES, "Send a large table to POST /api/v1/runs/table.")


async def table_body(request: Request, _user: CurrentUser) -> IO[bytes]:
    """A table's body."""
    return await _read_body(request, MAX_TABLE_BYTES, "Submit it as several runs.")


JsonBody = Annotated[IO[bytes], Depends(json_body)]
TableBody = Annotated[IO[bytes], Depends(table_body)]


def parse_run(body: IO[bytes]) -> AppRun | TaskRun:
    """The run that a JSON body asks for: with ``tasks`` or of a TES task by itself a TaskRun, else an AppRun."""
    document = _parsed(body.read(), "The body")
    if not isinstance(document, dict):
        raise InvalidRequest("The body is not a run: expected an object with 'app', with 'tasks', or a TES task.")
    # values of parameters are looked at with their rows: among them may be names of files
    if (key := key_twice(document)) is not None:
        raise InvalidRequest(f"The body is not valid JSON: the key '{key[:60]}' is there twice.")
    _refuse_odd({name: value for name, value in document.items() if name not in ("params", "over")}, "The body")
    for name in ("params", "over"):
        for index, row in enumerate(_rows_in(document.get(name)), start=1):
            if (key := key_twice(row)) is not None:
                raise InvalidRequest(f"The body is not valid JSON: {name}, row {index}: the key '{key[:60]}' is there twice.")
    return task_run(document) if "tasks" in document or is_tes_task(document) else validate_app_run(document)


def validate_app_run(document: dict[str, Any]) -> AppRun:
    """``document`` as a run of an app, or a refusal with all that is wrong."""
    try:
        return AppRun.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest("The run was not accepted.", problems=problems_of(error, "")) from None


def parse_object(name: str, text: str) -> dict[str, Any]:
    """A query parameter that is a JSON object."""
    which = f"The query parameter '{name}'"
    value = _parsed(text, which)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{which} is not a JSON object.")
    if name != "params" or key_twice(value) is not None:
        _refuse_odd(value, which)
    return value


def _parsed(data: bytes | str, which: str) -> Any:
    try:
        return parse_json(data)
    except NotJson as error:
        raise InvalidRequest(f"{which} is not valid JSON: {error}.") from None


def _refuse_odd(value: Any, which: str) -> None:
    if why := value_problem(value):
        raise InvalidRequest(f"{which} cannot be accepted: {why}.")


def _rows_in(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_rows(content_type: str, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The rows of an uploaded table, one at a time."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/csv":
        return _csv_rows(lines)
    if kind in ("application/x-ndjson", "application/jsonl"):
        return _json_rows(lines)
    raise InvalidRequest(
        f"A table of type '{kind[:60] or 'unknown'}' cannot be read.", hint="Send 'text/csv' or 'application/x-ndjson' as Content-Type."
    )


def _csv_rows(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    reader = csv.reader(_decoded(lines))
    try:
        header = next(reader, None) or []
        if not header or len(set(header)) < len(header) or "" in header:
            raise InvalidRequest("The first line of the table must give every column a name of its own.")
        if any(text_problem(name) for name in header):
            raise InvalidRequest("The first line of the table is not UTF-8 text.", hint="Save the table as UTF-8.")
        for values in reader:
            if len(values) == len(header):
                yield dict(zip(header, values, strict=True))
            elif values:
                raise InvalidRequest(f"Line {reader.line_num} of the table has {len(values)} values, and the header {len(header)}.")
    except csv.Error as error:
        raise InvalidRequest(f"Line {reader.line_num} of the table cannot be read: {error}.") from None


def _json_rows(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_decoded(lines), start=1):
        if not line.strip():
            continue
        row = _parsed(line, f"Line {number} of the table")
        if (key := key_twice(row)) is not None:
            raise InvalidRequest(f"Line {number} of the table is not valid JSON: the key '{key[:60]}' is there twice.")
        if not isinstance(row, dict):
            raise InvalidRequest(f"Line {number} of the table is not a JSON object.")
        yield row


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Names of files may be any bytes, so what is not UTF-8 is refused with its parameter, if that is no file."""
    for number, line in enumerate(lines, start=1):
        yield line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
