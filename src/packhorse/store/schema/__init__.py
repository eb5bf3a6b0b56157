"""The tables. One schema for SQLite and PostgreSQL; changes go through ``migrations/``.

A task's integer id is its run's ``seq`` times 2**20 plus its index, so that the tasks of a run lie together, page by
primary key, and need neither a foreign key nor an index of their own. JSON is kept as text: it is written and read in
bulk, and never searched.
"""

from __future__ import annotations

from packhorse.store.schema.base import TASKS_PER_RUN, metadata
from packhorse.store.schema.history import estimates, history, secrets
from packhorse.store.schema.kbase import kbase_jobs, kbase_logs, kbase_runs
from packhorse.store.schema.runs import (
    BACKS_OFF,
    CAN_GIVE,
    HAS_ALLOCATION,
    READY,
    REUSABLE,
    TO_LOOK_UP,
    UNFINISHED,
    apps,
    attempts,
    demands,
    edges,
    events,
    growths,
    in_run,
    log_chunks,
    lookups,
    makers,
    runs,
    shares,
    step_counts,
    step_demands,
    step_edges,
    steps,
    tasks,
)
from packhorse.store.schema.service import file_sums, leases, tokens
from packhorse.store.schema.sites import (
    UNCLAIMED,
    allocations,
    blocks,
    cached,
    data,
    data_edges,
    deliveries,
    images,
    journals,
    run_images,
    step_data,
)

__all__ = [
    "BACKS_OFF",
    "CAN_GIVE",
    "HAS_ALLOCATION",
    "READY",
    "REUSABLE",
    "TASKS_PER_RUN",
    "TO_LOOK_UP",
    "UNCLAIMED",
    "UNFINISHED",
    "allocations",
    "apps",
    "attempts",
    "blocks",
    "cached",
    "data",
    "data_edges",
    "deliveries",
    "demands",
    "edges",
    "estimates",
    "events",
    "file_sums",
    "history",
    "growths",
    "images",
    "in_run",
    "journals",
    "kbase_jobs",
    "kbase_logs",
    "kbase_runs",
    "leases",
    "log_chunks",
    "lookups",
    "makers",
    "metadata",
    "run_images",
    "runs",
    "secrets",
    "shares",
    "step_counts",
    "step_data",
    "step_demands",
    "step_edges",
    "steps",
    "tasks",
    "tokens",
]
