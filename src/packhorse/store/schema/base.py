"""What the tables have in common."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

#: Room for the tasks of one run in the space of task ids.
TASKS_PER_RUN = 1 << 20

BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER is SQLite's rowid
