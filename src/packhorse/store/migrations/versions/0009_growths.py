"""The tasks that a list becomes come to be in parts.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


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
