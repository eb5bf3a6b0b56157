"""What runs were granted of allocations, added up.

Revision ID: 0002
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ADD_UP = """
    INSERT INTO shares (allocation_seq, run_seq, tasks, attempts, failed, core_s, failed_core_s, cpu_s)
    SELECT allocation_seq, task_id / 1048576, sum(CASE WHEN attempt = 1 THEN 1 ELSE 0 END), count(*), count(failure),
           coalesce(sum(cores * wall_s), 0), coalesce(sum(CASE WHEN failure IS NOT NULL THEN cores * wall_s END), 0),
           coalesce(sum(cpu_s), 0)
    FROM attempts WHERE allocation_seq IS NOT NULL GROUP BY allocation_seq, task_id / 1048576
"""
_SPANNED = (
    "UPDATE shares SET core_s = core_s * :nodes, failed_core_s = failed_core_s * :nodes WHERE allocation_seq = :seq"
)


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("allocation_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tasks", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("core_s", sa.Float(), nullable=False),
        sa.Column("failed_core_s", sa.Float(), nullable=False),
        sa.Column("cpu_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("allocation_seq", "run_seq"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_shares_run", "shares", ["run_seq", "allocation_seq"], unique=False)
    op.create_index("ix_allocations_ended", "allocations", ["ended_at"], unique=False)
    connection = op.get_bind()
    connection.execute(sa.text(_ADD_UP))
    for seq, text in connection.execute(sa.text("SELECT seq, shape FROM allocations")).all():
        shape = json.loads(text)
        if shape.get("for_one_task") and shape.get("nodes", 1) > 1:  # cores of an attempt are those on one of its nodes
            connection.execute(sa.text(_SPANNED), {"seq": seq, "nodes": shape["nodes"]})
