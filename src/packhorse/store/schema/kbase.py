"""What KBase's execution engine says of runs and tasks that nobody else does. A job is a task: see ``domain.kbase``."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.store.columns import Said
from packhorse.store.schema.base import BigKey, metadata, partial_index

_IN_BATCH = sa.text("batch_seq IS NOT NULL")
_IS_RETRY = sa.text("retry_of IS NOT NULL")
_IS_SEALED = sa.text("sealed IS NOT NULL")

#: A run of jobs: one, or those of a batch, which then has a job of its own that stands for them.
kbase_runs = sa.Table(
    "kbase_runs",
    metadata,
    sa.Column("run_seq", BigKey, primary_key=True, autoincrement=False),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("wsid", sa.BigInteger),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("batch", sa.Boolean, nullable=False),
    sa.Column("batch_seq", sa.BigInteger),  # of a retry of one of its children: the run of the batch
    sa.Column("retry_of", sa.BigInteger),  # the task whose retry its only one is
    sa.Column("parent", sa.BigInteger),  # the task that has started it as a job below its own
    sa.Column("meta", sa.Text, nullable=False),  # JSON: what the narrative says of the batch
    sa.Column("sealed", sa.LargeBinary),  # the token that its jobs are given (engine.sealing); None when they are over
    sa.Index("ix_kbase_runs_workspace", "wsid", "run_seq"),
    sa.Index("ix_kbase_runs_made", "created_at", "run_seq"),
    sa.Index("ix_kbase_runs_user", "user", "created_at", "run_seq"),
    partial_index("ix_kbase_runs_batch", "batch_seq", "run_seq", where=_IN_BATCH),
    partial_index("ix_kbase_runs_retry", "retry_of", "run_seq", where=_IS_RETRY),
    partial_index("ix_kbase_runs_sealed", "run_seq", where=_IS_SEALED),
)

#: Of a job (or of a batch, by the id that no task has): what somebody reported, and how far its log goes.
kbase_jobs = sa.Table(
    "kbase_jobs",
    metadata,
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("lines", sa.BigInteger, nullable=False, server_default="0"),  # of its log
    sa.Column("told", sa.Text),  # JSON: up to where its output and its events are in its log (store.kbase.logs)
    sa.Column("started", sa.Integer),  # the attempt that was reported as started
    sa.Column("started_at", sa.Float),
    sa.Column("terminated_code", sa.Integer),
    sa.Column("terminated_at", sa.Float),
    sa.Column("error_code", sa.Integer),
    sa.Column("errormsg", Said),
    sa.Column("error", sa.Text),  # JSON, as it was reported
    sa.Column("abandoned", sa.Boolean, nullable=False, server_default=sa.false()),  # its batch does not count it
    sa.Column("progress", sa.Text),  # JSON: what UserAndJobState's calls reported
    sqlite_with_rowid=False,
)

#: The lines of jobs' logs, in pieces: ``lines`` of them from number ``first`` on.
kbase_logs = sa.Table(
    "kbase_logs",
    metadata,
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("lines", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),  # compressed JSON: [[text, time in ms, whether an error], …]
)
