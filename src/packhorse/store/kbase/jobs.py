"""Jobs: their tasks, and what was reported of them."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    ordered, start = sorted(ids), 0
    while start < len(ordered):
        end = bisect_left(ordered, (ordered[start] // TASKS_PER_RUN + 1) * TASKS_PER_RUN, start)
        some, start = ordered[start:end], end
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


#: Results of more characters are not read with those of thousands of other jobs.
MAX_SHORT = 2000
_AT_ONCE = 10_000  # jobs of a range in one statement
_SHORT_RESULT = sa.and_(_T.state == "COMPLETE", _T.result.is_not(None))
_RESULTS = (
    sa.case((sa.and_(_SHORT_RESULT, sa.func.length(_T.result) <= MAX_SHORT), _T.result)),
    sa.case((_SHORT_RESULT, sa.func.length(_T.result) > MAX_SHORT), else_=sa.false()),
)
_NO_RESULTS = (sa.null(), sa.false())
_FRESH_DEMAND = sa.case((sa.and_(_T.state == "QUEUED", _T.attempt == 0, _T.waiting_on == 0), _T.demand_seq))


def _glances(results: tuple[Any, Any], *, is_sqlite: bool) -> tuple[Any, Any]:
    """The statements of ``glance_at``: for ids, and for a range.

    SQLite's module gives up the interpreter's lock for each row, and has to ask for it again: while another thread
    computes, thousands of rows take seconds. So they come as one text. Other drivers fetch all rows at once.
    """
    ms = [column * 1000 for column in (_T.started_at, _T.ended_at)]
    whole = [sa.cast(one if is_sqlite else sa.func.floor(one), sa.BigInteger) for one in ms]
    columns = (_T.id, _T.state, *whole, *results, _FRESH_DEMAND)
    select = sa.select(sa.func.json_group_array(sa.func.json_array(*columns))) if is_sqlite else sa.select(*columns)
    return select.where(_T.id.in_(_IDS)), select.where(_T.id.between(_FIRST, _LAST))


_GLANCES = {
    (result, is_sqlite): _glances(_RESULTS if result else _NO_RESULTS, is_sqlite=is_sqlite)
    for result in (False, True)
    for is_sqlite in (False, True)
}


def glance_at(connection: sa.Connection, ids: Collection[int], *, result: bool) -> Iterator[Sequence[Any]]:
    """(id, state, start, end, result, whether there is a longer one, demand) of tasks, in no order, as quickly as can
    be; times in whole milliseconds. The result is that of a task that completed, of at most ``MAX_SHORT`` characters;
    the demand is that of one that has not been tried yet, and waits for nothing but its turn.
    """
    wanted = ids if isinstance(ids, set | frozenset) else set(ids)
    is_sqlite = connection.dialect.name == "sqlite"
    by_ids, between = _GLANCES[result, is_sqlite]
    spans, single = spans_of(wanted)
    asked: list[tuple[Any, dict[str, Any]]] = [(by_ids, {"ids": some}) for some in chunks(single)]
    for first, last in spans:
        for start in range(first, last + 1, _AT_ONCE):
            asked.append((between, {"first": start, "last": min(last, start + _AT_ONCE - 1)}))
    for statement, values in asked:
        found = connection.execute(statement, values)
        rows = json.loads(found.scalar_one()) if is_sqlite else found.all()
        for row in rows:
            if row[0] in wanted:
                yield row


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
