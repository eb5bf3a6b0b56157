"""Parses journals (docs/spool.md).

Pure, and never surprised: whatever the bytes are, what is not a record is counted and skipped.
"""

from __future__ import annotations

import json
import re
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
_TEXTS = ("why", "s", "host", "processor")
_ODD = re.compile(rb"\\u(?:d[89a-f]|0000)", re.IGNORECASE)


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
    for line in data[: batch.length].split(b"\n")[:-1]:
        try:
            record = _record(line)
            _check(record)
            batch.task_ids.update(_tasks_of(record))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            batch.bad_lines += 1
        else:
            batch.records.append(record)
    return batch


def _record(line: bytes) -> Any:
    """The JSON in a line with what the store can hold in place of what it cannot; but a result is as it was, for it is
    judged.
    """
    text = line.decode()
    try:
        record = json.loads(text)
    except ValueError:
        record = parse_json(text)  # a number of thousands of digits
    if _ODD.search(line):
        kept = {name: record[name] for name in ("result", "files") if name in record}
        record = {**holdable_value(record), **kept}
    if record.get("files"):
        record["files"] = [_file(file) for file in record["files"]]
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
    for name, limit in _SMALLER_THAN.items():
        value = record.get(name)
        if value is not None and not (type(value) in (int, float) and -limit < value < limit):  # false of NaN
            raise TypeError(f"{name} is no number, or out of all proportion")
    for name in _TEXTS:
        if not isinstance(record.get(name), str | None):
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


def _tasks_of(record: Any) -> list[int]:
    """The ids in a record; raises what ``parse_journal`` takes for a bad line."""
    kind = record["k"]
    if kind in ("end", "start", "log"):
        pairs = [(record["id"], record["n"])]
    elif kind == "back":
        pairs = [(task, attempt) for task, attempt in record["tasks"]]
    else:
        return []
    if not all(type(task) is int and type(attempt) is int and 0 <= task < 1 << 63 for task, attempt in pairs):
        raise TypeError("task and attempt are integers")
    return [task for task, _ in pairs]
