"""Which task makes reference data that others would make as well.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "makers",
        sa.Column("cache_key", sa.String(64), primary_key=True),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
