"""Runs, their steps and tasks, and what became of these."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.domain.states import AT_SITE, TaskState
from packhorse.store.columns import Said, Searched
from packhorse.store.schema.base import TASKS_PER_RUN, BigKey, metadata, partial_index

#: Of a run that is being written.
UNFINISHED = "NOT visible"

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("app", sa.String(130), nullable=False),  # name@version; empty for documents, and for several apps
    sa.Column("client_key", sa.String(200)),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("retry_of", sa.String(32)),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),  # among its user's runs; higher is first
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),  # when the first of its tasks ran
    sa.Column("ended_at", sa.Float),
    # while its tasks are being written nobody sees it; what was begun and never finished is swept away
    sa.Column("visible", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.UniqueConstraint("user", "client_key"),
    sa.Index("ix_runs_user", "user", "seq"),
    partial_index("ix_runs_open", "seq", where=sa.text("ended_at IS NULL")),
    partial_index("ix_runs_unfinished", "seq", where=sa.text(UNFINISHED)),
    sqlite_autoincrement=True,
)

#: One kind of task in a run. Its tasks lie together: ``tasks`` of them from index ``first`` of the run on.
steps = sa.Table(
    "steps",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("run_seq", sa.BigInteger, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # its place in the run
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),  # JSON: engine.steps.spec.StepSpec
    sa.Column("first", sa.Integer, nullable=False),
    sa.Column("tasks", sa.Integer),  # None until the list is known that they come from
    sa.Column("held", sa.Boolean, nullable=False),  # an image, or data that all its tasks need, is not there
    # its tasks are looked up: results of earlier ones may be taken; false again once that is done with all
    sa.Column("reuse", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("run_seq", "number"),
    partial_index("ix_steps_held", "site", "seq", where=sa.text("held")),
    partial_index("ix_steps_reuse", "site", "seq", where=sa.text("reuse")),
    sqlite_autoincrement=True,
)

#: ``downstream`` waits for ``upstream``. 'gather': for all of its tasks, of which ``left`` have not ended, and
#: ``failed`` did not complete; 'each': its task i for task i; 'items': its tasks are the list that the only task
#: leaves; 'tasks': tasks of a step have edges of their own, to others of that step or of ``upstream``.
step_edges = sa.Table(
    "step_edges",
    metadata,
    sa.Column("upstream", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("downstream", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("accept_failure", sa.Boolean, nullable=False),
    sa.Column("left", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Index("ix_step_edges_downstream", "downstream", "upstream"),
    sqlite_with_rowid=False,
)

#: The manifests and folders of apps that runs were submitted with, by content.
apps = sa.Table(
    "apps",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),  # JSON
    sa.Column("archive", sa.LargeBinary, nullable=False),  # staging.apparchive
    sa.Column("created_at", sa.Float, nullable=False),
)

#: How many tasks of a step are in each state; moved with the tasks, so that progress costs nothing to ask.
step_counts = sa.Table(
    "step_counts",
    metadata,
    sa.Column("run_seq", BigKey, primary_key=True, autoincrement=False),
    sa.Column("step_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("tasks", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

_HAS_READY = sa.text("ready > 0")

#: The ready tasks of one user at one site that are alike: of one app (``label``), asking for the same. A tick reads
#: these, however many tasks and runs wait.
demands = sa.Table(
    "demands",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),  # digest of the next three
    sa.Column("label", sa.String(300), nullable=False),  # tasks of one label are likely to take equally long
    sa.Column("image", sa.String(512)),  # the first that its tasks run in, as it was asked for
    sa.Column("resources", sa.Text, nullable=False),  # JSON: what one task asks for
    sa.Column("ready", sa.Integer, nullable=False),  # tasks, those of steps that are held left out
    # what its tasks ask for was decided, from estimates or after a failure, and is not looked at again
    sa.Column("sized", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("site", "user", "key"),
    partial_index("ix_demands_ready", "site", "seq", where=_HAS_READY),
    sqlite_autoincrement=True,
)

#: Tasks of a step may be placed.
CAN_GIVE = "step_demands.ready > 0 AND held = 0"
_CAN_GIVE = sa.text("ready > 0 AND held = 0")

#: How many ready tasks of a step belong to a demand; ``rank`` is the order among the steps of one: minus the priority.
step_demands = sa.Table(
    "step_demands",
    metadata,
    sa.Column("step_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("demand_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("ready", sa.Integer, nullable=False),
    sa.Column("held", sa.Integer, nullable=False),
    partial_index("ix_step_demands_ready", "demand_seq", "rank", "step_seq", where=_CAN_GIVE),
    sqlite_with_rowid=False,
)

#: A task may be placed: nothing that it waits for is missing, and no back-off is under way.
READY = "state = 'QUEUED' AND waiting_on = 0 AND not_before = 0"
_READY = sa.text(READY)
#: One that failed is tried again at its time.
BACKS_OFF = "state = 'QUEUED' AND not_before > 0"
_BACKS_OFF = sa.text(BACKS_OFF)
#: It waits for nothing but to be looked up.
TO_LOOK_UP = "state = 'QUEUED' AND waiting_on = 1 AND cache_key = ''"
_TO_LOOK_UP = sa.text(TO_LOOK_UP)
#: It came over TES, and is listed there.
IS_LISTED = "owner IS NOT NULL"
_IS_LISTED = sa.text(IS_LISTED)
#: What it left may be taken.
REUSABLE = "state = 'COMPLETE' AND cache_key > ''"
_REUSABLE = sa.text(REUSABLE)
#: An allocation has the task. Statements spell it out: a list of parameters is not the condition of an index.
HAS_ALLOCATION = "state IN ({})".format(", ".join(f"'{state}'" for state in sorted(AT_SITE)))
_AT_SITE = sa.text(HAS_ALLOCATION)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("step_seq", sa.BigInteger, nullable=False),
    sa.Column("demand_seq", sa.BigInteger, nullable=False),
    sa.Column("name", Searched(100)),
    sa.Column("state", sa.String(16), nullable=False, default=TaskState.QUEUED),
    sa.Column("params", sa.Text, nullable=False),  # JSON: its own values, or its TES document
    sa.Column("waiting_on", sa.Integer, nullable=False, default=0),  # upstream tasks, steps and data that are missing
    sa.Column("attempt", sa.Integer, nullable=False, default=0),  # the current or the last one; 0: none yet
    sa.Column("not_before", sa.Float, nullable=False, default=0.0),  # back-off: seconds since the epoch; 0: none
    sa.Column("overrides", sa.Text),  # JSON: resources raised after a failure
    sa.Column("allocation_seq", sa.BigInteger),
    sa.Column("block", sa.Integer),
    sa.Column("exit_code", sa.Integer),
    sa.Column("failure", sa.String(16)),
    sa.Column("reason", Said),  # why it waits, or why it ended as it did
    sa.Column("result", sa.Text),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("cache_key", sa.String(64)),  # domain.cachekey; empty: it is to be looked up; None: it has none
    sa.Column("owner", sa.String(200)),  # the user, of a task that came over TES
    sa.Index("ix_tasks_state", "state", "id"),
    # the constant columns make SQLite's planner prefer it to ix_tasks_state
    partial_index("ix_tasks_ready", "state", "waiting_on", "step_seq", "demand_seq", "id", where=_READY),
    partial_index("ix_tasks_back_off", "not_before", "id", where=_BACKS_OFF),
    partial_index("ix_tasks_at_site", "allocation_seq", "id", where=_AT_SITE),
    partial_index("ix_tasks_to_look_up", "step_seq", "id", where=_TO_LOOK_UP),
    partial_index("ix_tasks_reusable", "cache_key", "id", where=_REUSABLE),
    partial_index("ix_tasks_owner", "owner", "id", where=_IS_LISTED),
    partial_index("ix_tasks_owner_name", "owner", "name", "id", where=_IS_LISTED),
    partial_index("ix_tasks_owner_state", "owner", "state", "id", where=_IS_LISTED),
)

#: By which tags a task that came over TES is found: digests of its owner and a key, and of both with the value
#: (store.listing).
task_tags = sa.Table(
    "task_tags",
    metadata,
    sa.Column("digest", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

#: What came of looking a task up: the content of its ``inputs`` then, and from which task (one that was executed) its
#: result was taken, with which outputs; or why it was not, where one had the same key, or it has none.
lookups = sa.Table(
    "lookups",
    metadata,
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("inputs", sa.Text, nullable=False),  # JSON: name → content
    sa.Column("taken_from", sa.BigInteger),
    sa.Column("files", sa.Text),  # JSON: as of attempts
    sa.Column("why", Said),
    sqlite_with_rowid=False,
)

#: Which task makes, or made last, the reference data with a key: others that would make the same wait for it.
makers = sa.Table(
    "makers",
    metadata,
    sa.Column("cache_key", sa.String(64), primary_key=True),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Steps of which only some tasks are there yet of those that a list becomes. The step that it is for and those with a
#: task for each of its tasks have ``grown`` of them; ``canceled`` says why the others end as they come.
growths = sa.Table(
    "growths",
    metadata,
    sa.Column("step_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_seq", sa.BigInteger, nullable=False),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("upstream", sa.BigInteger, nullable=False),  # the task that left the list
    sa.Column("grown", sa.Integer, nullable=False),
    sa.Column("canceled", Said),
    sqlite_with_rowid=False,
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
    sa.Column("image", sa.String(80)),  # digest of the image that it ran in
    sa.Column("steps", sa.Text),  # JSON: how each of several executors ended (engine.collecting.executors)
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
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("from_state", sa.String(16)),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("why", Said),
    sa.Index("ix_events_task", "task_id", "id"),
)

#: What the ended attempts of a run were granted of an allocation; added to as they end, so that accounts need not read
#: attempts.
shares = sa.Table(
    "shares",
    metadata,
    sa.Column("allocation_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("tasks", sa.Integer, nullable=False),  # those whose first attempt this was
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),  # attempts
    sa.Column("core_s", sa.Float, nullable=False),  # cores granted on all nodes, times wall time
    sa.Column("failed_core_s", sa.Float, nullable=False),  # of that, by attempts that failed
    sa.Column("cpu_s", sa.Float, nullable=False),
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"),  # of outputs that were kept
    sa.Index("ix_shares_run", "run_seq", "allocation_seq"),
    sqlite_with_rowid=False,
)


def in_run(seq: int) -> sa.ColumnElement[bool]:
    """Selects the tasks of a run by primary key."""
    return tasks.c.id.between(seq * TASKS_PER_RUN, (seq + 1) * TASKS_PER_RUN - 1)
