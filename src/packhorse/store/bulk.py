"""Statements that are executed with thousands of rows, given to the driver as they are.

SQLAlchemy looks at each value of each row, which takes longer than the database takes to write it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

#: One row: a value for each name of the statement. A state is given as plain text: drivers look longer at an enum.
BulkRow = Sequence[Any]

_PARAMSTYLES = {"sqlite": "qmark", "postgresql": "format"}
_Process = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Made:
    """A statement in the words of one database. ``cleaned`` are the places of values that a column type changes."""

    text: str
    cleaned: Sequence[tuple[int, _Process]]


class Bulk:
    """An INSERT into columns of these ``names``, or an UPDATE with bound values of these names, for many rows."""

    def __init__(self, statement: sa.Insert | sa.Update, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._statement = statement
        self._made: dict[str, _Made] = {}

    def execute(self, connection: sa.Connection, rows: Sequence[BulkRow]) -> None:
        """Executes it for each row, whose values stand in the order of ``names``. None are none."""
        if not rows:
            return
        dialect = connection.dialect
        made = self._made.get(dialect.name)
        if made is None:
            made = self._made[dialect.name] = self._make(dialect)
        for place, process in made.cleaned:
            rows = [_with(row, place, process) for row in rows]
        connection.exec_driver_sql(made.text, rows if isinstance(rows, list) else list(rows))

    def execute_dicts(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """The same for rows that have their values by name."""
        self.execute(connection, list(map(self._in_order, rows)))

    @cached_property
    def _in_order(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        return itemgetter(*self.names)

    def _make(self, dialect: sa.Dialect) -> _Made:
        own = type(dialect)(paramstyle=_PARAMSTYLES[dialect.name])  # type: ignore[call-arg]
        given: dict[str, Any] = {"for_executemany": True}
        if isinstance(self._statement, sa.Insert):
            given["column_keys"] = list(self.names)
        compiled: Any = self._statement.compile(dialect=own, **given)
        if tuple(compiled.positiontup) != self.names:
            raise ValueError(f"The statement takes {compiled.positiontup}, in this order.")
        cleaned = [
            (place, _process_of(compiled.binds[name].type, own))
            for place, name in enumerate(self.names)
            if isinstance(compiled.binds[name].type, sa.TypeDecorator)
        ]
        return _Made(str(compiled), cleaned)


def _process_of(kind: sa.TypeDecorator[Any], dialect: sa.Dialect) -> _Process:
    return lambda value: kind.process_bind_param(value, dialect)


def _with(row: BulkRow, place: int, process: _Process) -> BulkRow:
    """A row with one value as its column takes it; the row itself where that changes nothing, as nearly always."""
    value = row[place]
    if value is None or (cleaned := process(value)) == value:
        return row
    return (*row[:place], cleaned, *row[place + 1 :])
