"""Webhooks may be told of tasks: in batches, of which each row of the outbox is one.

Revision ID: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    no = sa.text("0" if op.get_bind().dialect.name == "sqlite" else "false")
    op.add_column("webhooks", sa.Column("tells_tasks", sa.Boolean(), server_default=no, nullable=False))
    tells = sa.text("tells_tasks")
    op.create_index("ix_webhooks_tasks", "webhooks", ["user"], sqlite_where=tells, postgresql_where=tells)
    op.add_column("outbox", sa.Column("tasks", sa.Text()))
