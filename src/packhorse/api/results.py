"""The results of a run as a stream: JSON lines, or CSV with a column for each parameter and each value of a result."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from packhorse.domain.text import dumps, holdable

Results = Iterable[dict[str, Any]]

_CHUNK_BYTES = 64 * 1024
_FIXED = ("index", "task", "state", "reason")


def as_json_lines(results: Results) -> Iterator[bytes]:
    """One JSON object a line, in pieces of some 64 kB."""
    return _in_chunks(dumps(document).encode("ascii") + b"\n" for document in results)


def as_csv(read_results: Callable[[], Results]) -> Iterator[bytes]:
    """A table. Reads the results twice: once for the names of the columns, once for the rows, and keeps neither."""
    columns: dict[str, None] = {}
    for document in read_results():
        columns.update(dict.fromkeys(flat_result(document)))
    names = [*_FIXED, *(name for name in columns if name not in _FIXED)]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(
        buffer, names, extrasaction="ignore"
    )  # lines end as RFC 4180 says, else a lone CR is not quoted

    def line(write: Callable[[], Any]) -> bytes:
        write()
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return holdable(text).encode()

    rows = (line(partial(writer.writerow, as_cells(flat_result(document)))) for document in read_results())
    return _in_chunks(chain([line(writer.writeheader)], rows))


def flat_result(document: dict[str, Any]) -> dict[str, Any]:
    """A result as one row: its parameters, then the values of its result.

    A name that is taken, or empty, gets ``result.`` before it.
    """
    row = {name: document[name] for name in _FIXED}
    for prefix, values in (("params", document["params"] or {}), ("result", _values(document["result"]))):
        for name, value in values.items():
            row[f"{prefix}.{name}" if name in row or not name else name] = value
    return row


def _values(result: Any) -> dict[str, Any]:
    if result is None:
        return {}
    return result if isinstance(result, dict) else {"result": result}


def as_cells(row: dict[str, Any]) -> dict[str, Any]:
    """What a table has for the values of a row: texts and numbers as they are, all else as JSON."""
    return {name: dumps(value) if isinstance(value, dict | list | bool) else value for name, value in row.items()}


def _in_chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= _CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """``chunks`` with the first one already there, so that a refusal comes before the answer has begun."""
    first = next(chunks, b"")
    return chain([first], chunks)
