"""What tasks used before: what estimates come from. Independent of runs, which may be removed."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.store.columns import SaidShortly, Size
from packhorse.store.schema.base import BigKey, metadata

#: An attempt that ended, or one of several that were alike (``stands_for``). No user's name and no text of a parameter
#: is in it: digests with a secret of this store stand for them.
history = sa.Table(
    "history",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("ended_at", sa.Float, nullable=False),
    sa.Column("owner", sa.String(16), nullable=False),  # stands for a user; empty: of elsewhere
    sa.Column("task_id", sa.BigInteger),  # None: of elsewhere
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("app", SaidShortly(300), nullable=False),
    sa.Column("version", SaidShortly(100), nullable=False),  # with the digest of the app's folder
    sa.Column("part", sa.String(16), nullable=False),  # 'gather' of an app's gathering task
    sa.Column("step", SaidShortly(100), nullable=False),
    sa.Column("image", SaidShortly(80)),  # its digest
    sa.Column("executor", SaidShortly(40), nullable=False),  # container runtime or 'host', and session
    sa.Column("site", SaidShortly(64), nullable=False),
    sa.Column("node_type", SaidShortly(100), nullable=False),
    sa.Column("features", sa.Text, nullable=False),  # JSON: numbers, categories, inputs
    sa.Column("asked_cores", sa.Float),
    sa.Column("asked_memory_mb", sa.Float),
    sa.Column("asked_walltime_s", sa.Float),
    sa.Column("nodes", sa.Integer, nullable=False),
    sa.Column("cores", sa.Float),  # granted, on each node, as the next two
    sa.Column("memory_mb", sa.Float),
    sa.Column("walltime_s", sa.Float),
    sa.Column("peak_memory", Size),  # bytes, as the next but two and the following
    sa.Column("cpu_s", sa.Float),
    sa.Column("wall_s", sa.Float),
    sa.Column("read_bytes", Size),
    sa.Column("write_bytes", Size),
    sa.Column("disk_bytes", Size),
    sa.Column("failure", sa.String(16)),
    sa.Column("memory_censored", sa.Boolean, nullable=False),  # it would have used more
    sa.Column("time_censored", sa.Boolean, nullable=False),
    sa.Column("stands_for", sa.Integer, nullable=False),
    sa.Index("ix_history_owner", "app", "owner", "seq"),
    sa.Index("ix_history_task", "task_id", "attempt"),
    sqlite_autoincrement=True,
)

#: What was decided for a task before it was placed, and why.
estimates = sa.Table(
    "estimates",
    metadata,
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("memory_mb", sa.Float),  # asked for; the rest is in ``decision``
    sa.Column("walltime_s", sa.Float),
    sa.Column("decision", sa.Text, nullable=False),  # JSON: engine.sizing.explained
    sqlite_with_rowid=False,
)

#: Made once by whoever needs them first.
secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(64), nullable=False),
)
