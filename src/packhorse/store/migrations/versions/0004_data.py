"""Data that sites have by URL, who waits for it, and what is in their caches.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("state NOT IN ('READY', 'FAILED')")


def upgrade() -> None:
    op.create_table(
        "data",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("best_bytes", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("size", sa.BigInteger()),
        sa.Column("etag", sa.String(1000)),
        sa.Column("last_modified", sa.String(100)),
        sa.Column("sha256", sa.String(64)),
        sa.Column("crc64nvme", sa.String(16)),
        sa.Column("md5", sa.String(32)),
        sa.Column("path", sa.Text()),
        sa.Column("fetched_at", sa.Float()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("site", "url", "version"),
    )
    op.create_index("ix_data_open", "data", ["site", "id"], unique=False, sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_table(
        "data_edges",
        sa.Column("data_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("path", sa.Text()),
        sa.PrimaryKeyConstraint("data_id", "task_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_data_edges_task", "data_edges", ["task_id", "data_id"], unique=False)
    op.create_index("ix_data_edges_content", "data_edges", ["sha256", "task_id"], unique=False)
    op.create_table(
        "cached",
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("site", "sha256"),
        sqlite_with_rowid=False,
    )
