"""``packhorse usage``: what runs used, and what allocations paid for whom."""

from __future__ import annotations

import time

from packhorse.cli.output import duration, print_facts, print_json, print_table, say, size
from packhorse.cli.requests import parse_duration
from packhorse.client import Client
from packhorse.client.client import account_by
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.views import AccountBy, AccountLine


def show_usage(run_id: str, by: list[str], since: str | None, *, as_json: bool) -> None:
    """``packhorse usage RUN``."""
    if by or since is not None:
        raise InvalidRequest(
            "--by and --since are for the usage of all runs.", hint=f"'packhorse usage {run_id}' is about one."
        )
    with Client() as client:
        usage = client.backend.usage(run_id)
    if as_json:
        print_json(usage)
        return
    print_facts(
        [
            ("tasks", f"{usage.tasks:,}"),
            ("attempts", f"{usage.attempts:,}"),
            ("granted", f"{hours(usage.core_s)} core-hours"),
            ("paid", f"{hours(usage.paid_core_s)} core-hours, {hours(usage.paid_node_s)} node-hours"),
            ("failed", f"{hours(usage.failed_core_s)} core-hours of that" if usage.failed_core_s else None),
            ("used", f"{hours(usage.cpu_s)} CPU-hours"),
            ("memory", f"{size(usage.peak_memory)} at the most in one task"),
            ("read", size(usage.read_bytes)),
            ("written", size(usage.write_bytes)),
        ]
    )


def show_account(by: list[str], since: str | None, *, as_json: bool) -> None:
    """``packhorse usage``."""
    chosen = [account_by(one) for one in by] or list(AccountBy)
    after = None if since is None else max(0.0, time.time() - parse_duration(since))
    with Client() as client:
        account = client.backend.account(chosen, after)
    if as_json:
        print_json(account)
        return
    if since is not None:
        say(f"Allocations that ended in the last {duration(account.until - (account.since or 0.0))}, or that run.")
    _print_total(account.total)
    for group, lines in account.by.items():
        say()
        whole = any(line.paid_core_s is not None for line in lines)
        columns = [
            group.value,
            "tasks",
            "attempts",
            "failed",
            "core-hours used",
            "node-hours used",
            "by failed attempts",
            "CPU-hours",
        ]
        print_table([*columns, "idle", "paid"] if whole else columns, [_cells(line) for line in lines])


def _print_total(total: AccountLine) -> None:
    facts: list[tuple[str, object]] = []
    if total.paid_core_s is not None:
        facts.append(("paid", f"{hours(total.paid_core_s)} core-hours, {hours(total.paid_node_s)} node-hours"))
    facts.append(("used", f"{hours(total.used_core_s)} core-hours{_part(total.used_core_s, total.paid_core_s)}"))
    if total.failed_core_s:
        facts.append(("by failed attempts", f"{hours(total.failed_core_s)} core-hours of that"))
    if total.idle_core_s is not None:
        facts.append(("idle", f"{hours(total.idle_core_s)} core-hours{_part(total.idle_core_s, total.paid_core_s)}"))
    if total.unsettled_core_s:
        facts.append(("not settled", f"{hours(total.unsettled_core_s)} core-hours of allocations that still run"))
    print_facts(facts)


def _cells(line: AccountLine) -> tuple[object, ...]:
    costs = (line.used_core_s, line.used_node_s, line.failed_core_s, line.cpu_s, line.idle_core_s, line.paid_core_s)
    return (
        line.name,
        f"{line.tasks:,}",
        f"{line.attempts:,}",
        f"{line.failed:,}",
        *(hours(cost) for cost in costs if cost is not None),
    )


def _part(some: float, paid: float | None) -> str:
    return f" ({100 * some / paid:.1f} %)" if paid else ""


def hours(seconds: float | None) -> str:
    """Core- or node-seconds as hours."""
    return "" if seconds is None else f"{seconds / 3600:,.4f}"
