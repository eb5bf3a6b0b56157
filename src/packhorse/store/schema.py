"""The tables. One schema for SQLite and PostgreSQL; changes go through ``migrations/``.

A task's integer id is its run's ``seq`` times 2**20 plus its index, so that the tasks of a run lie together, page by primary key, and
need neither a foreign key nor an index of their own. JSON is kept as text: it is written and read in bulk, and never searched.
"""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.domain.states import AT_SITE, TaskState

metadata = sa.MetaData()

#: Room for the tasks of one run in the space of task ids.
TASKS_PER_RUN = 1 << 20

_BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER is SQLite's rowid

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("seq", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("app", sa.String(130), nullable=False),  # name@version, or empty for tasks with edges
    sa.Column("client_key", sa.String(200)),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),  # JSON: engine.plan.RunSpec
    sa.Column("retry_of", sa.String(32)),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.UniqueConstraint("user", "client_key"),
    sa.Index("ix_runs_user", "user", "seq"),
    sa.Index("ix_runs_open", "seq", sqlite_where=sa.text("ended_at IS NULL"), postgresql_where=sa.text("ended_at IS NULL")),
    sqlite_autoincrement=True,
)

#: How many tasks of a run are in each state; moved with the tasks, so that progress costs nothing to ask.
run_counts = sa.Table(
    "run_counts",
    metadata,
    sa.Column("run_seq", _BigKey, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("tasks", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

_READY = sa.text("state = 'QUEUED' AND waiting_on = 0")
_AT_SITE = sa.text("state IN ({})".format(", ".join(f"'{state}'" for state in sorted(AT_SITE))))

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=False),
    sa.Column("role", sa.String(8), nullable=False),  # 'row', 'gather' or 'task'
    sa.Column("name", sa.String(100)),
    sa.Column("state", sa.String(16), nullable=False, default=TaskState.QUEUED),
    sa.Column("params", sa.Text, nullable=False),  # JSON: this row's own values, or the TES document of a 'task'
    sa.Column("waiting_on", sa.Integer, nullable=False, default=0),  # upstream tasks that have not ended
    sa.Column("attempt", sa.Integer, nullable=False, default=0),  # the current or the last one; 0: none yet
    sa.Column("not_before", sa.Float, nullable=False, default=0.0),  # back-off: seconds since the epoch
    sa.Column("overrides", sa.Text),  # JSON: resources raised after a failure
    sa.Column("allocation_seq", sa.BigInteger),
    sa.Column("block", sa.Integer),
    sa.Column("exit_code", sa.Integer),
    sa.Column("failure", sa.String(16)),
    sa.Column("reason", sa.Text),  # why it waits, or why it ended as it did
    sa.Column("result", sa.Text),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Index("ix_tasks_state", "state", "id"),
    # the constant columns make SQLite's planner prefer it to ix_tasks_state
    sa.Index("ix_tasks_ready", "state", "waiting_on", "id", sqlite_where=_READY, postgresql_where=_READY),
    sa.Index("ix_tasks_at_site", "allocation_seq", "id", sqlite_where=_AT_SITE, postgresql_where=_AT_SITE),
)

#: ``downstream`` starts when ``upstream`` is COMPLETE, or merely ended where ``accept_failure``.
edges = sa.Table(
    "edges",
    metadata,
    sa.Column("upstream", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("downstream", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("accept_failure", sa.Boolean, nullable=False),
    sa.Index("ix_edges_downstream", "downstream", "upstream"),
    sqlite_with_rowid=False,
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("allocation_seq", sa.BigInteger),
    sa.Column("journal_id", sa.BigInteger),
    sa.Column("failure", sa.String(16)),
    sa.Column("exit_code", sa.Integer),
    sa.Column("signal", sa.Integer),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float, nullable=False),
    sa.Column("wall_s", sa.Float),
    sa.Column("cpu_s", sa.Float),
    sa.Column("peak_memory", sa.BigInteger),  # bytes
    sa.Column("read_bytes", sa.BigInteger),
    sa.Column("write_bytes", sa.BigInteger),
    sa.Column("cores", sa.Float),  # granted
    sa.Column("memory_mb", sa.Integer),  # granted
    sa.Column("walltime_s", sa.Float),  # granted
    sa.Column("evidence", sa.Text),  # JSON, of a failure
    sa.Column("files", sa.Text),  # JSON: outputs that were kept
    sqlite_with_rowid=False,
)

#: Where in an agent's log a task's output lies. ``start`` is the offset there, in bytes.
log_chunks = sa.Table(
    "log_chunks",
    metadata,
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stream", sa.String(3), primary_key=True),  # 'out' or 'err'
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("journal_id", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Every transition of every task, in order.
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("from_state", sa.String(16)),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("why", sa.Text),
    sa.Index("ix_events_task", "task_id", "id"),
)

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("seq", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),  # also the token that finds its job again
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("job_id", sa.String(200)),
    sa.Column("shape", sa.Text, nullable=False),  # JSON: allocation.json of docs/spool.md
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("reason", sa.Text),
    sa.Column("busy_core_s", sa.Float),
    sa.Index("ix_allocations_live", "site", "seq", sqlite_where=sa.text("state <> 'ENDED'"), postgresql_where=sa.text("state <> 'ENDED'")),
)

#: A block of an allocation's bundle, from before it is written until its tasks have ended.
blocks = sa.Table(
    "blocks",
    metadata,
    sa.Column("allocation_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(8), nullable=False),  # planned, written, claimed, revoked
    sa.Column("tasks", sa.Integer, nullable=False),
    sa.Column("predicted_core_s", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

#: How far each agent's journal has been applied.
journals = sa.Table(
    "journals",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("allocation_seq", sa.BigInteger, nullable=False),
    sa.Column("agent", sa.String(200), nullable=False),
    sa.Column("node", sa.String(200)),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("bad_lines", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("allocation_seq", "agent"),
)

#: Who may act as the engine. ``beat`` counts up while the holder lives; nobody's clock is trusted.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(200)),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),  # SHA-256; the token itself is never stored
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("admin", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)
