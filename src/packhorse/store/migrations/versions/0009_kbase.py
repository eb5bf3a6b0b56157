"""Jobs of KBase's execution engine: what is said of them beside their tasks, and their logs.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "kbase_runs",
        sa.Column("run_seq", key, primary_key=True, autoincrement=False),
        sa.Column("user", sa.String(200), nullable=False),
        sa.Column("wsid", sa.BigInteger()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("batch", sa.Boolean(), nullable=False),
        sa.Column("batch_seq", sa.BigInteger()),
        sa.Column("retry_of", sa.BigInteger()),
        sa.Column("parent", sa.BigInteger()),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary()),
    )
    op.create_index("ix_kbase_runs_workspace", "kbase_runs", ["wsid", "run_seq"])
    op.create_index("ix_kbase_runs_made", "kbase_runs", ["created_at", "run_seq"])
    op.create_index("ix_kbase_runs_user", "kbase_runs", ["user", "created_at", "run_seq"])
    _partial("ix_kbase_runs_batch", "kbase_runs", ["batch_seq", "run_seq"], "batch_seq IS NOT NULL")
    _partial("ix_kbase_runs_retry", "kbase_runs", ["retry_of", "run_seq"], "retry_of IS NOT NULL")
    _partial("ix_kbase_runs_sealed", "kbase_runs", ["run_seq"], "sealed IS NOT NULL")
    op.create_table(
        "kbase_jobs",
        sa.Column("task_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("lines", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("told", sa.Text()),
        sa.Column("started", sa.Integer()),
        sa.Column("started_at", sa.Float()),
        sa.Column("terminated_code", sa.Integer()),
        sa.Column("terminated_at", sa.Float()),
        sa.Column("error_code", sa.Integer()),
        sa.Column("errormsg", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("abandoned", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("progress", sa.Text()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "kbase_logs",
        sa.Column("task_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
