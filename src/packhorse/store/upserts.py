"""Inserts that go by what is there already, in the words of each database.

They are made once for each table and database, since making a statement takes longer than executing it. A database's
dialect is imported when it is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa


def insert_missing(connection: sa.Connection, table: sa.Table) -> Any:
    """An insert that leaves rows as they are that are there."""
    return _missing(table, connection.dialect.name)


def insert_or_add(connection: sa.Connection, table: sa.Table, *sums: str) -> Any:
    """An insert that adds what it has in these columns to the row of the same primary key, where there is one."""
    return _adding(table, connection.dialect.name, sums)


def insert_or_set(connection: sa.Connection, table: sa.Table, *columns: str) -> Any:
    """An insert that sets these columns of the row of the same primary key, where there is one."""
    return _setting(table, connection.dialect.name, columns)


@cache
def _missing(table: sa.Table, dialect: str) -> Any:
    return _insert(table, dialect).on_conflict_do_nothing()


@cache
def _adding(table: sa.Table, dialect: str, sums: tuple[str, ...]) -> Any:
    insert = _insert(table, dialect)
    added = {name: table.c[name] + insert.excluded[name] for name in sums}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)


@cache
def _setting(table: sa.Table, dialect: str, columns: tuple[str, ...]) -> Any:
    insert = _insert(table, dialect)
    given = {name: insert.excluded[name] for name in columns}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=given)


def _insert(table: sa.Table, dialect: str) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite  # each takes 20 ms of the start, and one is used

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)
