"""Tasks that come over TES are listed by owner, name, state and tags; attempts tell of each executor.

Revision ID: 0011

Tasks of earlier versions are not listed there.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("owner", sa.String(200)))
    op.add_column("attempts", sa.Column("steps", sa.Text()))
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":  # whose order is that of bytes; no row is written anew for it
        connection.execute(sa.text('ALTER TABLE tasks ALTER COLUMN name TYPE VARCHAR(100) COLLATE "C"'))
    listed = sa.text("owner IS NOT NULL")
    for name, columns in (
        ("ix_tasks_owner", ["owner", "id"]),
        ("ix_tasks_owner_name", ["owner", "name", "id"]),
        ("ix_tasks_owner_state", ["owner", "state", "id"]),
    ):
        op.create_index(name, "tasks", columns, sqlite_where=listed, postgresql_where=listed)
    op.create_table(
        "task_tags",
        sa.Column("digest", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
