"""The tables. One schema for SQLite and PostgreSQL; changes go through ``migrations/``.

A task's integer id is its run's ``seq`` times 2**20 plus its index, so that the tasks of a run lie together, page by
primary key, and need neither a foreign key nor an index of their own. JSON is kept as text: it is written and read in
bulk, and never searched.
"""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.domain.states import AT_SITE, TaskState
from packhorse.store.columns import FileName, Said, SaidShortly, Size

metadata = sa.MetaData()

#: Room for the tasks of one run in the space of task ids.
TASKS_PER_RUN = 1 << 20

_BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER is SQLite's rowid

#: Of a run that is being written.
UNFINISHED = "NOT visible"

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("seq", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("app", sa.String(130), nullable=False),  # name@version; empty for documents, and for several apps
    sa.Column("client_key", sa.String(200)),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("retry_of", sa.String(32)),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),  # among its user's runs; higher is first
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    # while its tasks are being written nobody sees it; what was begun and never finished is swept away
    sa.Column("visible", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.UniqueConstraint("user", "client_key"),
    sa.Index("ix_runs_user", "user", "seq"),
    sa.Index(
        "ix_runs_open",
        "seq",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
    sa.Index("ix_runs_unfinished", "seq", sqlite_where=sa.text(UNFINISHED), postgresql_where=sa.text(UNFINISHED)),
    sqlite_autoincrement=True,
)

#: One kind of task in a run. Its tasks lie together: ``tasks`` of them from index ``first`` of the run on.
steps = sa.Table(
    "steps",
    metadata,
    sa.Column("seq", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("run_seq", sa.BigInteger, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # its place in the run
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),  # JSON: engine.steps.spec.StepSpec
    sa.Column("first", sa.Integer, nullable=False),
    sa.Column("tasks", sa.Integer),  # None until the list is known that they come from
    sa.Column("held", sa.Boolean, nullable=False),  # an image that its tasks run in is not there
    # its tasks are looked up: results of earlier ones may be taken; false again once that is done with all
    sa.Column("reuse", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("run_seq", "number"),
    sa.Index("ix_steps_held", "site", "seq", sqlite_where=sa.text("held"), postgresql_where=sa.text("held")),
    sa.Index("ix_steps_reuse", "site", "seq", sqlite_where=sa.text("reuse"), postgresql_where=sa.text("reuse")),
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
    sa.Column("run_seq", _BigKey, primary_key=True, autoincrement=False),
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
    sa.Column("seq", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),  # digest of the next three
    sa.Column("label", sa.String(300), nullable=False),  # tasks of one label are likely to take equally long
    sa.Column("image", sa.String(512)),  # the first that its tasks run in, as it was asked for
    sa.Column("resources", sa.Text, nullable=False),  # JSON: what one task asks for
    sa.Column("ready", sa.Integer, nullable=False),  # tasks, those of steps that are held left out
    sa.UniqueConstraint("site", "user", "key"),
    sa.Index("ix_demands_ready", "site", "seq", sqlite_where=_HAS_READY, postgresql_where=_HAS_READY),
    sqlite_autoincrement=True,
)

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
    sa.Index(
        "ix_step_demands_ready",
        "demand_seq",
        "rank",
        "step_seq",
        sqlite_where=_CAN_GIVE,
        postgresql_where=_CAN_GIVE,
    ),
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
#: What it left may be taken.
REUSABLE = "state = 'COMPLETE' AND cache_key > ''"
_REUSABLE = sa.text(REUSABLE)
#: An allocation has the task. Statements spell it out: a list of parameters is not the condition of an index.
HAS_ALLOCATION = "state IN ({})".format(", ".join(f"'{state}'" for state in sorted(AT_SITE)))
_AT_SITE = sa.text(HAS_ALLOCATION)
#: No agent has claimed the block.
UNCLAIMED = "state IN ('planned', 'written')"

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=False),
    sa.Column("step_seq", sa.BigInteger, nullable=False),
    sa.Column("demand_seq", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(100)),
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
    sa.Index("ix_tasks_state", "state", "id"),
    # the constant columns make SQLite's planner prefer it to ix_tasks_state
    sa.Index(
        "ix_tasks_ready",
        "state",
        "waiting_on",
        "step_seq",
        "demand_seq",
        "id",
        sqlite_where=_READY,
        postgresql_where=_READY,
    ),
    sa.Index("ix_tasks_back_off", "not_before", "id", sqlite_where=_BACKS_OFF, postgresql_where=_BACKS_OFF),
    sa.Index("ix_tasks_at_site", "allocation_seq", "id", sqlite_where=_AT_SITE, postgresql_where=_AT_SITE),
    sa.Index("ix_tasks_to_look_up", "step_seq", "id", sqlite_where=_TO_LOOK_UP, postgresql_where=_TO_LOOK_UP),
    sa.Index("ix_tasks_reusable", "cache_key", "id", sqlite_where=_REUSABLE, postgresql_where=_REUSABLE),
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

#: The checksums of input files of the engine's machine, each computed once while the file is as it was.
file_sums = sa.Table(
    "file_sums",
    metadata,
    sa.Column("path_hash", sa.String(64), primary_key=True),  # SHA-256: a path may be longer than an index takes
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
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
    sa.Column("why", Said),
    sa.Index("ix_events_task", "task_id", "id"),
)

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("seq", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),  # also the token that finds its job again
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("job_id", SaidShortly(200)),
    sa.Column("shape", sa.Text, nullable=False),  # JSON: allocation.json of docs/spool.md
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("reason", Said),
    sa.Column("busy_core_s", sa.Float),
    sa.Index("ix_allocations_ended", "ended_at"),
    sa.Index(
        "ix_allocations_live",
        "site",
        "seq",
        sqlite_where=sa.text("state <> 'ENDED'"),
        postgresql_where=sa.text("state <> 'ENDED'"),
    ),
)

#: A URL whose data a site has, or is to have. A ``version`` of reference data never changes; other URLs are looked at
#: again by each run.
data = sa.Table(
    "data",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("url", sa.String(2000), nullable=False),
    sa.Column("version", sa.String(100), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("wrong", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", sa.Float, nullable=False, default=0.0),
    sa.Column("bytes_done", Size, nullable=False, default=0),
    sa.Column("best_bytes", Size, nullable=False, default=0),
    sa.Column("error", Said),
    sa.Column("size", Size),  # bytes
    sa.Column("etag", SaidShortly(1000)),
    sa.Column("last_modified", SaidShortly(100)),
    sa.Column("sha256", sa.String(64)),  # of what is at the site
    sa.Column("crc64nvme", sa.String(16)),
    sa.Column("md5", sa.String(32)),
    sa.Column("path", FileName),  # at the site
    sa.Column("fetched_at", sa.Float),
    sa.UniqueConstraint("site", "url", "version"),
    sa.Index(
        "ix_data_open",
        "site",
        "id",
        sqlite_where=sa.text("state NOT IN ('READY', 'FAILED')"),
        postgresql_where=sa.text("state NOT IN ('READY', 'FAILED')"),
    ),
)

#: ``task_id`` needs the data; ``sha256`` is the content that it was given, None while it waits.
data_edges = sa.Table(
    "data_edges",
    metadata,
    sa.Column("data_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sha256", sa.String(64)),
    sa.Column("path", FileName),  # at the site
    sa.Index("ix_data_edges_task", "task_id", "data_id"),
    sa.Index("ix_data_edges_content", "sha256", "task_id"),
    sqlite_with_rowid=False,
)

#: An output of an attempt that ended well, on its way to a URL. ``state`` as of data; FETCHING is: under way.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("path", FileName, nullable=False),  # in the task's work folder
    sa.Column("source", FileName, nullable=False),  # at the site
    sa.Column("url", FileName, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("wrong", sa.Integer, nullable=False),
    sa.Column("not_before", sa.Float, nullable=False),
    sa.Column("error", Said),
    sa.Column("size", Size),  # bytes
    sa.Column("sha256", sa.String(64)),
    sa.Index("ix_deliveries_task", "task_id", "id"),
    sa.Index(
        "ix_deliveries_open",
        "site",
        "id",
        sqlite_where=sa.text("state NOT IN ('READY', 'FAILED')"),
        postgresql_where=sa.text("state NOT IN ('READY', 'FAILED')"),
    ),
)

#: What is in the cache of a site, by content. Several URLs may have the same.
cached = sa.Table(
    "cached",
    metadata,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("size", Size, nullable=False),  # bytes
    sa.Column("last_used_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
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
    sa.Index("ix_shares_run", "run_seq", "allocation_seq"),
    sqlite_with_rowid=False,
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
    sa.Index(
        "ix_blocks_unclaimed",
        "allocation_seq",
        "number",
        sqlite_where=sa.text(UNCLAIMED),
        postgresql_where=sa.text(UNCLAIMED),
    ),
    sqlite_with_rowid=False,
)

#: An image at a site, from when a run first wanted it. ``state`` is one of staging.images.
images = sa.Table(
    "images",
    metadata,
    sa.Column("seq", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("reference", sa.String(512), nullable=False),  # registry/repository:tag, as it was asked for last
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("not_before", sa.Float, nullable=False),  # back-off: seconds since the epoch
    sa.Column("errand", sa.String(64)),  # what prepares it at the site
    sa.Column("gateway_id", SaidShortly(64)),  # what the site's image gateway calls it
    sa.Column("download_bytes", Size, nullable=False),  # its layers, compressed
    sa.Column("done_bytes", Size, nullable=False),
    sa.Column("size_bytes", Size),  # prepared
    sa.Column("failure", sa.String(32)),
    sa.Column("error", Said),
    sa.Column("config", sa.Text, nullable=False),  # JSON: its OCI configuration
    sa.Column("preparations", sa.Integer, nullable=False),  # how often it was begun
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ready_at", sa.Float),
    sa.Column("last_used_at", sa.Float, nullable=False),
    sa.UniqueConstraint("site", "digest"),
    sqlite_autoincrement=True,
)

#: Which images a run wants, by the references that it names; ``digest`` once its registry has said it, and then for the
#: whole run.
run_images = sa.Table(
    "run_images",
    metadata,
    sa.Column("run_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reference", sa.String(512), primary_key=True),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(80)),
    sa.Column("failed", sa.Boolean, nullable=False),  # for good: its tasks end with ``error``
    sa.Column("error", Said),
    sa.Index("ix_run_images_image", "site", "digest"),
    sqlite_with_rowid=False,
)

#: How far each agent's journal has been applied.
journals = sa.Table(
    "journals",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=True),
    sa.Column("allocation_seq", sa.BigInteger, nullable=False),
    sa.Column("agent", sa.String(200), nullable=False),
    sa.Column("node", SaidShortly(200)),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("bad_lines", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("allocation_seq", "agent"),
)

#: Who may act as the engine. ``beat`` counts up while the holder lives; nobody's clock is trusted.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", SaidShortly(200)),
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


def in_run(seq: int) -> sa.ColumnElement[bool]:
    """Selects the tasks of a run by primary key."""
    return tasks.c.id.between(seq * TASKS_PER_RUN, (seq + 1) * TASKS_PER_RUN - 1)
