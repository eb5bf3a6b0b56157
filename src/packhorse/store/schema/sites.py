"""What is at sites, or on its way there: allocations with their blocks and journals, data and images."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.store.columns import FileName, Said, SaidShortly, Size
from packhorse.store.schema.base import BigKey, metadata, partial_index

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
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
    partial_index("ix_allocations_live", "site", "seq", where=sa.text("state <> 'ENDED'")),
)

#: Data that a site has, or is to have: by URL, or of the engine's machine (``store.data.DataKey``). A ``version`` never
#: changes; other URLs are looked at again by each run.
data = sa.Table(
    "data",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
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
    partial_index("ix_data_open", "site", "id", where=sa.text("state NOT IN ('READY', 'FAILED')")),
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

_STEP_WAITS = sa.text("path IS NULL")

#: All tasks of a step need the data: ``path`` is where it is at the site, None while they wait.
step_data = sa.Table(
    "step_data",
    metadata,
    sa.Column("step_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sha256", sa.String(64)),
    sa.Column("path", FileName),
    partial_index("ix_step_data_awaited", "data_id", "step_seq", where=_STEP_WAITS),
    sa.Index("ix_step_data_content", "sha256", "step_seq"),
    sqlite_with_rowid=False,
)

#: An output of an attempt that ended well, on its way to a URL. ``state`` as of data; FETCHING is: under way.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
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
    partial_index("ix_deliveries_open", "site", "id", where=sa.text("state NOT IN ('READY', 'FAILED')")),
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

#: No agent has claimed the block.
UNCLAIMED = "state IN ('planned', 'written')"

#: A block of an allocation's bundle, from before it is written until its tasks have ended.
blocks = sa.Table(
    "blocks",
    metadata,
    sa.Column("allocation_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(8), nullable=False),  # planned, written, claimed, revoked
    sa.Column("tasks", sa.Integer, nullable=False),
    sa.Column("predicted_core_s", sa.Float, nullable=False),
    partial_index("ix_blocks_unclaimed", "allocation_seq", "number", where=sa.text(UNCLAIMED)),
    sqlite_with_rowid=False,
)

#: An image at a site, from when a run first wanted it. ``state`` is one of staging.images.
images = sa.Table(
    "images",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("site", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("reference", sa.String(512), nullable=False),  # registry/repository:tag, as it was asked for last
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("not_before", sa.Float, nullable=False),  # back-off: seconds since the epoch
    sa.Column("background_job", sa.String(64)),  # what prepares it at the site
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
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("allocation_seq", sa.BigInteger, nullable=False),
    sa.Column("agent", sa.String(200), nullable=False),
    sa.Column("node", SaidShortly(200)),
    sa.Column("node_type", SaidShortly(100)),  # its processor
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("bad_lines", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("allocation_seq", "agent"),
)
