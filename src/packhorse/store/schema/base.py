"""What the tables have in common."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

#: Room for the tasks of one run in the space of task ids.
TASKS_PER_RUN = 1 << 20

BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER is SQLite's rowid


def partial_index(name: str, *columns: str, where: sa.TextClause) -> sa.Index:
    """An index of the rows that match.

    On PostgreSQL only the migrations, which make it, say so: to say it here would take 20 ms of each start, for its
    dialect.
    """
    return sa.Index(name, *columns, sqlite_where=where)
