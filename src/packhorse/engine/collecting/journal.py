"""Parses journals (docs/spool.md).

Pure, and never surprised: whatever the bytes are, what is not a record is counted and skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from packhorse.domain.text import holdable, holdable_value, is_name, parse_json

Record = dict[str, Any]

#: What the numbers of records must be smaller than: times and durations in seconds, codes, bytes. Others may be
#: anything.
_SECONDS, _CODE, _BYTES = 1e11, 1 << 31, 1 << 62
_SMALLER_THAN = {
    **dict.fromkeys(("t", "t0", "t1", "wall", "cpu", "busy_core_s"), _SECONDS),
    **dict.fromkeys(("exit", "sig", "progress"), _CODE),
    **dict.fromkeys(("peak", "rd", "wr", "o", "l"), _BYTES),
}
_NUMBERS = (int, float)
_TEXTS = frozenset(("why", "s", "host", "processor"))
_ODD = re.compile(r"\\u(?:d[89a-f]|0000)", re.IGNORECASE)
_BAD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_read = json.JSONDecoder().raw_decode


@dataclass
class Batch:
    """The records of one stretch of a journal, the tasks that they speak of, and how many bytes they take."""

    records: list[Record] = field(default_factory=list)
    task_ids: set[int] = field(default_factory=set)
    bad_lines: int = 0
    length: int = 0


def parse_journal(data: bytes, longest: int = 1 << 20) -> Batch:
    """The whole lines at the start of ``data``; the rest is still being written, unless it is longer than any line can
    be.
    """
    batch = Batch(length=data.rfind(b"\n") + 1)
    if not batch.length and len(data) >= longest:
        return Batch(bad_lines=1, length=len(data))
    for found in _lines(data[: batch.length]):
        try:
            record = _record(found) if isinstance(found, bytes) else found
            if record.get("files"):
                record["files"] = [_file(file) for file in record["files"]]
            _check(record)
            tasks = _tasks_of(record)
        except _BAD:
            batch.bad_lines += 1
        else:
            batch.task_ids.update(tasks)
            batch.records.append(record)
    return batch


def _lines(data: bytes) -> Iterator[Any]:
    """What each line says, or the line itself where that takes a closer look."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield from data.split(b"\n")[:-1]
        return
    any_odd = _ODD.search(text) is not None
    begin, length = 0, len(text)
    while begin < length:
        end = text.index("\n", begin)
        try:
            said, read_to = (None, -1) if any_odd and _ODD.search(text, begin, end) else _read(text, begin)
        except (ValueError, RecursionError):
            read_to = -1
        yield said if read_to == end else text[begin:end].encode()
        begin = end + 1


def _record(line: bytes) -> Any:
    """The JSON in a line with what the store can hold in place of what it cannot; but a result is as it was, for it is
    judged.
    """
    text = line.decode()
    try:
        record = json.loads(text)
    except ValueError:
        record = parse_json(text)  # a number of thousands of digits
    if _ODD.search(text):
        kept = {name: record[name] for name in ("result", "files") if name in record}
        record = {**holdable_value(record), **kept}
    return record


def _file(file: Any) -> dict[str, Any]:
    """An output that an agent kept; its path may be any bytes (``domain.text.is_name``)."""
    path, size = file["path"], file.get("size")
    rest = holdable_value({name: value for name, value in file.items() if name not in ("path", "size")})
    return {
        "path": path if is_name(path) else holdable(path),
        "size": size if type(size) is int and 0 <= size < _BYTES else 0,
        **rest,
    }


def _check(record: Any) -> None:
    """Raises what ``parse_journal`` takes for a bad line where a field is not what whoever applies the record takes it
    for.
    """
    for name, value in record.items():
        if value is None:
            continue
        limit = _SMALLER_THAN.get(name)
        if limit is not None:
            if not (type(value) in _NUMBERS and -limit < value < limit):  # false of NaN
                raise TypeError(f"{name} is no number, or out of all proportion")
        elif name in _TEXTS and not isinstance(value, str):
            raise TypeError(f"{name} is no text")
    if record["k"] == "claim" and not 0 <= int(record["block"]) < _CODE:
        raise ValueError("there is no such block")
    for stream, start, length in record.get("log") or ():
        if not (
            isinstance(stream, str)
            and type(start) is type(length) is int
            and 0 <= start < _BYTES
            and 0 <= length < _BYTES
        ):
            raise TypeError("that is no part of a log")


def _tasks_of(record: Any) -> Sequence[int]:
    """The ids in a record; raises what ``parse_journal`` takes for a bad line."""
    kind = record["k"]
    if kind in ("end", "start", "log"):
        return (_task(record["id"], record["n"]),)
    return [_task(task, attempt) for task, attempt in record["tasks"]] if kind == "back" else ()


def _task(task: Any, attempt: Any) -> int:
    """The id of a task, of which some attempt is meant."""
    if not (type(task) is type(attempt) is int and 0 <= task < 1 << 63):
        raise TypeError("task and attempt are integers")
    return task
