"""Parses journals (docs/spool.md). Pure, and never surprised: whatever the bytes are, what is not a record is counted and skipped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]


@dataclass
class Batch:
    """The records of one stretch of a journal, the tasks that they speak of, and how many bytes they take."""

    records: list[Record] = field(default_factory=list)
    task_ids: set[int] = field(default_factory=set)
    bad_lines: int = 0
    length: int = 0


def parse_journal(data: bytes, longest: int = 1 << 20) -> Batch:
    """The whole lines at the start of ``data``; the rest is still being written, unless it is longer than any line can be."""
    batch = Batch(length=data.rfind(b"\n") + 1)
    if not batch.length and len(data) >= longest:
        return Batch(bad_lines=1, length=len(data))
    for line in data[: batch.length].split(b"\n")[:-1]:
        try:
            record = json.loads(line)
            batch.task_ids.update(_tasks_of(record))
        except (ValueError, KeyError, TypeError, RecursionError):
            batch.bad_lines += 1
        else:
            batch.records.append(record)
    return batch


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
