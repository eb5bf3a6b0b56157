"""Adds up what a run used."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.domain.views import UsageView
from packhorse.engine.requests.accounting import account
from packhorse.store.lookups import taken_in
from packhorse.store.runs import counts_of
from packhorse.store.shares import iter_shares
from packhorse.store.tasks import usage_of


def sum_usage(connection: sa.Connection, run_seq: int, now: float) -> UsageView:
    """Peak memory is that of the largest attempt, elapsed time from the first start to the last end."""
    row = usage_of(connection, run_seq)
    paid = account(iter_shares(connection, run_seq=run_seq), (), now, whole=False).total
    elapsed_s = row.last_end - row.first_start if row.first_start is not None else None
    return UsageView(
        tasks=sum(counts_of(connection, [run_seq])[run_seq].values()),
        attempts=row.attempts,
        reused=taken_in(connection, run_seq),
        core_s=paid.granted_core_s,
        paid_core_s=paid.used_core_s,
        paid_node_s=paid.used_node_s,
        failed_core_s=paid.failed_core_s,
        cpu_s=row.cpu_s,
        wall_s=row.wall_s,
        peak_memory=row.peak_memory,
        read_bytes=row.read_bytes,
        write_bytes=row.write_bytes,
        elapsed_s=elapsed_s,
        tasks_per_s=row.attempts / elapsed_s if elapsed_s else None,
    )
