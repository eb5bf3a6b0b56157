"""Jobs: their tasks, and what was reported of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.schema import TASKS_PER_RUN, kbase_jobs, tasks
from packhorse.store.upserts import insert_missing, insert_or_set

Span = tuple[int, int]

_T, _J = tasks.c, kbase_jobs.c
_SHORT = (
    _T.id, _T.step_seq, _T.demand_seq, _T.state, _T.waiting_on, _T.attempt, _T.exit_code, _T.failure, _T.reason,
    _T.started_at, _T.ended_at,
)  # fmt: skip
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_FIRST: sa.BindParameter[Any] = sa.bindparam("first")
_LAST: sa.BindParameter[Any] = sa.bindparam("last")
_REPORTED_OF = sa.select(kbase_jobs).where(_J.task_id.in_(_IDS))
_REPORTED_BETWEEN = sa.select(kbase_jobs).where(_J.task_id.between(_FIRST, _LAST))
#: What a job that failed says of it is in its result.
_RESULT_OF_FAILED = sa.case((_T.state != "COMPLETE", _T.result)).label("result")
_DENSE = 50  # ids of a run, from which on they are read as a range


def _statements(*more: Any) -> tuple[Any, Any]:
    columns = sa.select(*_SHORT, *more)
    return columns.where(_T.id.in_(_IDS)), columns.where(_T.id.between(_FIRST, _LAST))


_BY_WANTED = {
    (params, result): _statements(*([_T.params] if params else []), _T.result if result else _RESULT_OF_FAILED)
    for params in (False, True)
    for result in (False, True)
}


def spans_of(ids: Collection[int]) -> tuple[list[Span], list[int]]:
    """(ranges, single ids): ids of a run that lie close together are read at once."""
    spans: list[Span] = []
    single: list[int] = []
    for _, group in groupby(sorted(ids), key=lambda task: task // TASKS_PER_RUN):
        some = list(group)
        if len(some) >= _DENSE and some[-1] - some[0] < 4 * len(some):
            spans.append((some[0], some[-1]))
        else:
            single += some
    return spans, single


def load_jobs(connection: sa.Connection, ids: Collection[int], *, params: bool, result: bool) -> Iterator[Any]:
    """The tasks with these ids, in no order; with their ``params`` where these are wanted, and
    the ``result`` of those that completed likewise."""
    wanted = ids if isinstance(ids, set | frozenset) else set(ids)
    by_ids, between = _BY_WANTED[params, result]
    spans, single = spans_of(wanted)
    for first, last in spans:
        for row in connection.execute(between, {"first": first, "last": last}):
            if row.id in wanted:
                yield row
    for some in chunks(single):
        yield from connection.execute(by_ids, {"ids": some})


def reported_of(connection: sa.Connection, ids: Collection[int]) -> dict[int, Any]:
    """What was reported of jobs, by id; most have nothing."""
    spans, single = spans_of(ids)
    found: dict[int, Any] = {}
    for first, last in spans:
        found |= {row.task_id: row for row in connection.execute(_REPORTED_BETWEEN, {"first": first, "last": last})}
    for some in chunks(single):
        found |= {row.task_id: row for row in connection.execute(_REPORTED_OF, {"ids": some})}
    return found


def report(connection: sa.Connection, ids: Sequence[int], values: Mapping[str, Any]) -> None:
    """Sets the same values for jobs."""
    if ids:
        statement = insert_or_set(connection, kbase_jobs, *values)
        connection.execute(
            statement, [{"task_id": task, "abandoned": False, "lines": 0, **values} for task in sorted(ids)]
        )


def lock_reported(connection: sa.Connection, ids: Collection[int]) -> dict[int, Any]:
    """What was reported of jobs, made where there is nothing, and locked for this transaction in order of id."""
    found: dict[int, Any] = {}
    for some in chunks(ids):
        rows = [{"task_id": task, "lines": 0, "abandoned": False} for task in some]
        connection.execute(insert_missing(connection, kbase_jobs), rows)
        locked = _REPORTED_OF.order_by(_J.task_id).with_for_update()
        found |= {row.task_id: row for row in connection.execute(locked, {"ids": some})}
    return found
