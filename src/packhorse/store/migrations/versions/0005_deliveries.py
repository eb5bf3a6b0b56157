"""Outputs that go to URLs.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("state NOT IN ('READY', 'FAILED')")


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("size", sa.BigInteger()),
        sa.Column("sha256", sa.String(64)),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_deliveries_task", "deliveries", ["task_id", "id"], unique=False)
    op.create_index(
        "ix_deliveries_open", "deliveries", ["site", "id"], unique=False, sqlite_where=_OPEN, postgresql_where=_OPEN
    )
