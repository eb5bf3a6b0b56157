"""The tables. One schema for SQLite and PostgreSQL; changes go through ``migrations/``.

A task's integer id is its run's ``seq`` times 2**20 plus its index, so that the tasks of a run lie together, page by
primary key, and need neither a foreign key nor an index of their own. JSON is kept as text: it is written and read in
bulk, and never searched.
"""

from __future__ import annotations

from packhorse.store.schema.base import TASKS_PER_RUN, metadata
from packhorse.store.schema.runs import (
    BACKS_OFF,
    CAN_GIVE,
    HAS_ALLOCATION,
    IS_LISTED,
    READY,
    REUSABLE,
    TO_LOOK_UP,
    UNFINISHED,
    apps,
    attempts,
    demands,
    edges,
    events,
    in_run,
    log_chunks,
    lookups,
    runs,
    shares,
    step_counts,
    step_demands,
    step_edges,
    steps,
    task_tags,
    tasks,
)
from packhorse.store.schema.service import audit, file_sums, leases, secrets, sharing, tokens
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
from packhorse.store.schema.webhooks import outbox, webhooks

__all__ = [
    "BACKS_OFF",
    "CAN_GIVE",
    "HAS_ALLOCATION",
    "IS_LISTED",
    "READY",
    "REUSABLE",
    "TASKS_PER_RUN",
    "TO_LOOK_UP",
    "UNCLAIMED",
    "UNFINISHED",
    "allocations",
    "apps",
    "attempts",
    "audit",
    "blocks",
    "cached",
    "data",
    "data_edges",
    "deliveries",
    "demands",
    "edges",
    "events",
    "file_sums",
    "images",
    "in_run",
    "journals",
    "leases",
    "log_chunks",
    "lookups",
    "metadata",
    "outbox",
    "run_images",
    "runs",
    "secrets",
    "shares",
    "sharing",
    "step_counts",
    "step_data",
    "step_demands",
    "step_edges",
    "steps",
    "task_tags",
    "tasks",
    "tokens",
    "webhooks",
]
