"""Tokens have names, scopes and an end; runs are shared; who changed what is kept.

Revision ID: 0013

Tokens of earlier versions open all that they did, and do not end.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    no = sa.text("0" if op.get_bind().dialect.name == "sqlite" else "false")
    op.add_column("tokens", sa.Column("sees_all", sa.Boolean(), server_default=no, nullable=False))
    op.add_column("tokens", sa.Column("scopes", sa.String(40), server_default="read submit admin", nullable=False))
    op.add_column("tokens", sa.Column("name", sa.String(100), server_default="", nullable=False))
    op.add_column("tokens", sa.Column("expires_at", sa.Float()))
    op.create_index("ix_tokens_user", "tokens", ["user", "created_at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("user", sa.String(200), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("what", sa.String(400), nullable=False),
    )
    op.create_table(
        "sharing",
        sa.Column("run_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("grantee", sa.String(210), primary_key=True),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sharing_grantee", "sharing", ["grantee", "run_seq"])
