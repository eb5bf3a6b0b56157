"""Runs say when they started; who asked for it is told of them.

Revision ID: 0014

Of runs of earlier versions that have started, it is not known when: their start is not told.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    connection = op.get_bind()
    no = sa.text("0" if connection.dialect.name == "sqlite" else "false")
    op.add_column("runs", sa.Column("started_at", sa.Float()))
    connection.execute(sa.text("UPDATE runs SET started_at = created_at WHERE ended_at IS NULL"))
    op.create_table(
        "webhooks",
        sa.Column("seq", _BIG, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("user", sa.String(200), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("kinds", sa.String(100), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("error", sa.Text()),
    )
    op.create_index("ix_webhooks_user", "webhooks", ["user"])
    op.create_table(
        "outbox",
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("webhook_seq", sa.BigInteger(), nullable=False),
        sa.Column("run_seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("given_up", sa.Boolean(), server_default=no, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_webhook", "outbox", ["webhook_seq", "id"])
    waits = sa.text("NOT given_up")
    op.create_index("ix_outbox_waits", "outbox", ["webhook_seq", "id"], sqlite_where=waits, postgresql_where=waits)
