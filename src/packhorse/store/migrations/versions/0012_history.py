"""What tasks used is remembered by itself, and what they ask for may be decided by it.

Revision ID: 0012

It begins empty: of attempts of earlier versions it is not known what their tasks were given.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    connection = op.get_bind()
    no = "0" if connection.dialect.name == "sqlite" else "false"
    connection.execute(sa.text(f"ALTER TABLE demands ADD COLUMN sized BOOLEAN DEFAULT {no} NOT NULL"))
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "history",
        sa.Column("seq", key, primary_key=True, autoincrement=True),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(16), nullable=False),
        sa.Column("task_id", sa.BigInteger()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("app", sa.String(300), nullable=False),
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("part", sa.String(16), nullable=False),
        sa.Column("step", sa.String(100), nullable=False),
        sa.Column("image", sa.String(80)),
        sa.Column("executor", sa.String(40), nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("node_type", sa.String(100), nullable=False),
        sa.Column("features", sa.Text(), nullable=False),
        sa.Column("asked_cores", sa.Float()),
        sa.Column("asked_memory_mb", sa.Float()),
        sa.Column("asked_walltime_s", sa.Float()),
        sa.Column("nodes", sa.Integer(), nullable=False),
        sa.Column("cores", sa.Float()),
        sa.Column("memory_mb", sa.Float()),
        sa.Column("walltime_s", sa.Float()),
        sa.Column("peak_memory", sa.BigInteger()),
        sa.Column("cpu_s", sa.Float()),
        sa.Column("wall_s", sa.Float()),
        sa.Column("read_bytes", sa.BigInteger()),
        sa.Column("write_bytes", sa.BigInteger()),
        sa.Column("disk_bytes", sa.BigInteger()),
        sa.Column("failure", sa.String(16)),
        sa.Column("memory_censored", sa.Boolean(), nullable=False),
        sa.Column("time_censored", sa.Boolean(), nullable=False),
        sa.Column("stands_for", sa.Integer(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_history_owner", "history", ["app", "owner", "seq"])
    op.create_index("ix_history_task", "history", ["task_id", "attempt"])
    op.create_table(
        "estimates",
        sa.Column("task_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("memory_mb", sa.Float()),
        sa.Column("walltime_s", sa.Float()),
        sa.Column("decision", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(64), nullable=False),
    )
    op.add_column("journals", sa.Column("node_type", sa.String(100)))
