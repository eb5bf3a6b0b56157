"""The tasks that a list becomes come to be in parts; and which task makes reference data.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "growths",
        sa.Column("step_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("run_seq", sa.BigInteger(), nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("upstream", sa.BigInteger(), nullable=False),
        sa.Column("grown", sa.Integer(), nullable=False),
        sa.Column("canceled", sa.Text()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "makers",
        sa.Column("cache_key", sa.String(64), primary_key=True),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
