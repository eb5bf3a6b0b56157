"""Logs of jobs: appended in pieces, paged by number of line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.joblog import Piece
from packhorse.domain.text import kept_json
from packhorse.store.kbase.jobs import lock_reported
from packhorse.store.schema import kbase_jobs, kbase_logs

_L = kbase_logs.c
_INSERT = sa.insert(kbase_logs)
_COUNT = sa.update(kbase_jobs).where(kbase_jobs.c.task_id == sa.bindparam("of")).values(lines=sa.bindparam("number"))
_TELL = sa.update(kbase_jobs).where(kbase_jobs.c.task_id == sa.bindparam("of")).values(told=sa.bindparam("up_to"))
_AT_OR_BEFORE = (
    sa.select(sa.func.max(_L.first))
    .where(_L.task_id == sa.bindparam("task"), _L.first <= sa.bindparam("line"))
    .scalar_subquery()
)
_FROM = (
    sa.select(_L.first, _L.lines, _L.data)
    .where(_L.task_id == sa.bindparam("task"), _L.first >= sa.func.coalesce(_AT_OR_BEFORE, 0))
    .order_by(_L.first)
    .limit(sa.bindparam("number"))
)
_PIECES = 16


def append_pieces(connection: sa.Connection, new: Sequence[tuple[int, Sequence[Piece]]]) -> list[int]:
    """Appends to logs, in order; returns by position how many lines the log has then.

    As many statements for many jobs as for one.
    """
    numbers = {task: int(row.lines) for task, row in lock_reported(connection, {task for task, _ in new}).items()}
    rows, totals = list[dict[str, Any]](), list[int]()
    for task, some in new:
        for piece in some:
            rows.append({"task_id": task, "first": numbers[task], "lines": piece.lines, "data": piece.data})
            numbers[task] += piece.lines
        totals.append(numbers[task])
    if rows:
        connection.execute(_INSERT, rows)
        connection.execute(_COUNT, [{"of": task, "number": number} for task, number in sorted(numbers.items())])
    return totals


def append_told(
    connection: sa.Connection, task: int, some: Sequence[Piece], before: str | None, up_to: Mapping[str, Any]
) -> bool:
    """Appends what was found up to a place in a job's output; False, and nothing done, where another has been faster:
    the place is not ``before`` any more.
    """
    if lock_reported(connection, [task])[task].told != before:
        return False
    append_pieces(connection, [(task, some)])
    connection.execute(_TELL, {"of": task, "up_to": kept_json(dict(up_to))})
    return True


def pieces_from(connection: sa.Connection, task: int, line: int) -> Iterator[Any]:
    """(first, lines, data) of the pieces that have ``line`` and what follows it, in order, few at a time."""
    while True:
        rows = connection.execute(_FROM, {"task": task, "line": line, "number": _PIECES}).all()
        yield from rows
        if len(rows) < _PIECES:
            return
        line = rows[-1].first + rows[-1].lines
