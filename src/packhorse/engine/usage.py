"""Adds up what runs used."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from packhorse.domain.views import UsageView
from packhorse.store.runs import counts_of
from packhorse.store.tasks import usage_of


def sum_usage(connection: sa.Connection, run_seqs: Sequence[int]) -> UsageView:
    """Sums over runs; peak memory is that of the largest attempt, elapsed time from the first start to the last end."""
    rows = [usage_of(connection, seq) for seq in run_seqs]
    tasks = sum(sum(counts.values()) for counts in counts_of(connection, run_seqs).values())
    starts = [row.first_start for row in rows if row.first_start is not None]
    ends = [row.last_end for row in rows if row.last_end is not None]
    elapsed_s = max(ends) - min(starts) if starts and ends else None
    attempts = sum(row.attempts for row in rows)
    return UsageView(
        tasks=tasks,
        attempts=attempts,
        core_s=sum(row.core_s for row in rows),
        cpu_s=sum(row.cpu_s for row in rows),
        wall_s=sum(row.wall_s for row in rows),
        peak_memory=max((row.peak_memory for row in rows), default=0),
        read_bytes=sum(row.read_bytes for row in rows),
        write_bytes=sum(row.write_bytes for row in rows),
        elapsed_s=elapsed_s,
        tasks_per_s=attempts / elapsed_s if elapsed_s else None,
    )
