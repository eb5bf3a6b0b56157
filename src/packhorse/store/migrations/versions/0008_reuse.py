"""Tasks have a key, by which results of earlier ones are found.

Revision ID: 0008

Tasks of earlier versions have none: what they left is not taken.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    connection = op.get_bind()
    no = "0" if connection.dialect.name == "sqlite" else "false"
    connection.execute(sa.text(f"ALTER TABLE steps ADD COLUMN reuse BOOLEAN DEFAULT {no} NOT NULL"))
    _partial("ix_steps_reuse", "steps", ["site", "seq"], "reuse")
    op.add_column("tasks", sa.Column("cache_key", sa.String(64)))
    to_look_up = "state = 'QUEUED' AND waiting_on = 1 AND cache_key = ''"
    _partial("ix_tasks_to_look_up", "tasks", ["step_seq", "id"], to_look_up)
    _partial("ix_tasks_reusable", "tasks", ["cache_key", "id"], "state = 'COMPLETE' AND cache_key > ''")
    op.create_table(
        "lookups",
        sa.Column("task_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("taken_from", sa.BigInteger()),
        sa.Column("files", sa.Text()),
        sa.Column("why", sa.Text()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "file_sums",
        sa.Column("path_hash", sa.String(64), primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sqlite_with_rowid=False,
    )


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
