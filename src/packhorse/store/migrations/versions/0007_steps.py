"""Runs consist of steps; what may be placed is counted by demand; apps are in the database.

Revision ID: 0007

A run of an app becomes a step of its rows and one that gathers; a run of documents becomes one step. Ids of tasks stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from packhorse.store.migrations.oldruns import READY, OldRuns, count_tasks

revision = "0007"
down_revision = "0006"

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_AT_SITE = "state IN ('CANCELING', 'INITIALIZING', 'RUNNING')"


def upgrade() -> None:
    connection = op.get_bind()
    _make_tables(connection)
    OldRuns(connection).move()
    count_tasks(connection)
    op.drop_table("old_tasks")
    op.drop_table("run_counts")
    connection.execute(sa.text("ALTER TABLE runs DROP COLUMN spec"))
    connection.execute(sa.text("ALTER TABLE images RENAME COLUMN errand TO background_job"))
    _make_indexes_of_tasks()
    _partial("ix_blocks_unclaimed", "blocks", ["allocation_seq", "number"], "state IN ('planned', 'written')")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _make_tables(connection: sa.Connection) -> None:
    connection.execute(sa.text("ALTER TABLE runs ADD COLUMN priority INTEGER DEFAULT 0 NOT NULL"))
    visible = "1" if connection.dialect.name == "sqlite" else "true"
    connection.execute(sa.text(f"ALTER TABLE runs ADD COLUMN visible BOOLEAN DEFAULT {visible} NOT NULL"))
    _partial("ix_runs_unfinished", "runs", ["seq"], "NOT visible")
    op.create_table(
        "steps",
        sa.Column("seq", _KEY, primary_key=True, autoincrement=True),
        sa.Column("run_seq", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("tasks", sa.Integer()),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.UniqueConstraint("run_seq", "number"),
        sqlite_autoincrement=True,
    )
    _partial("ix_steps_held", "steps", ["site", "seq"], "held")
    op.create_table(
        "step_edges",
        sa.Column("upstream", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("downstream", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(length=8), primary_key=True),
        sa.Column("accept_failure", sa.Boolean(), nullable=False),
        sa.Column("left", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_step_edges_downstream", "step_edges", ["downstream", "upstream"])
    op.create_table(
        "apps",
        sa.Column("digest", sa.String(length=64), primary_key=True),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("archive", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
    op.create_table(
        "step_counts",
        sa.Column("run_seq", _KEY, primary_key=True, autoincrement=False),
        sa.Column("step_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(length=16), primary_key=True),
        sa.Column("tasks", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "step_data",
        sa.Column("step_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("data_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(length=64)),
        sa.Column("path", sa.Text()),
        sqlite_with_rowid=False,
    )
    _partial("ix_step_data_awaited", "step_data", ["data_id", "step_seq"], "path IS NULL")
    op.create_index("ix_step_data_content", "step_data", ["sha256", "step_seq"])
    _make_tables_of_demands()
    _make_tasks(connection)


def _make_tables_of_demands() -> None:
    op.create_table(
        "demands",
        sa.Column("seq", _KEY, primary_key=True, autoincrement=True),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=300), nullable=False),
        sa.Column("image", sa.String(length=512)),
        sa.Column("resources", sa.Text(), nullable=False),
        sa.Column("ready", sa.Integer(), nullable=False),
        sa.UniqueConstraint("site", "user", "key"),
        sqlite_autoincrement=True,
    )
    _partial("ix_demands_ready", "demands", ["site", "seq"], "ready > 0")
    op.create_table(
        "step_demands",
        sa.Column("step_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("demand_seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("ready", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    columns = ["demand_seq", "rank", "step_seq"]
    _partial("ix_step_demands_ready", "step_demands", columns, "ready > 0 AND held = 0")


def _make_tasks(connection: sa.Connection) -> None:
    """An empty table of tasks beside the old one."""
    for index in ("ix_tasks_state", "ix_tasks_ready", "ix_tasks_at_site"):
        op.drop_index(index, "tasks")
    op.rename_table("tasks", "old_tasks")
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("ALTER INDEX tasks_pkey RENAME TO old_tasks_pkey"))
    op.create_table(
        "tasks",
        sa.Column("id", _KEY, primary_key=True, autoincrement=False),
        sa.Column("step_seq", sa.BigInteger(), nullable=False),
        sa.Column("demand_seq", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=100)),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("waiting_on", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("overrides", sa.Text()),
        sa.Column("allocation_seq", sa.BigInteger()),
        sa.Column("block", sa.Integer()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("failure", sa.String(length=16)),
        sa.Column("reason", sa.Text()),
        sa.Column("result", sa.Text()),
        sa.Column("started_at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
    )


def _make_indexes_of_tasks() -> None:
    """At the end: tasks are inserted more quickly without."""
    op.create_index("ix_tasks_state", "tasks", ["state", "id"])
    _partial("ix_tasks_ready", "tasks", ["state", "waiting_on", "step_seq", "demand_seq", "id"], READY)
    back_off = "state = 'QUEUED' AND not_before > 0"
    _partial("ix_tasks_back_off", "tasks", ["not_before", "id"], back_off)
    _partial("ix_tasks_at_site", "tasks", ["allocation_seq", "id"], _AT_SITE)
