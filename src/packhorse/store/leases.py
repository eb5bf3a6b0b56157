"""Who may act as the engine: a lease that trusts no clock.

The holder adds one to ``beat`` every few seconds. Whoever wants the lease watches ``beat`` for ``TTL_S`` by its own
monotonic clock, and takes over only if it did not move; a holder on the same host that is no longer alive is succeeded
at once. Each take-over raises ``epoch``; every write transaction of an engine asserts its epoch, so that one that was
suspended and woke up too late changes nothing.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from packhorse.domain.errors import Conflict
from packhorse.store.schema import leases

TTL_S = 15.0
BEAT_S = 4.0


_OURS = sa.and_(leases.c.name == sa.bindparam("of"), leases.c.epoch == sa.bindparam("ours"))
_BEAT = sa.update(leases).where(_OURS).values(beat=leases.c.beat + 1)
_HELD = sa.select(leases.c.epoch).where(_OURS).with_for_update(read=True)


class LeaseView(NamedTuple):
    """What the lease says now."""

    holder: str | None
    epoch: int
    beat: int


def this_process() -> str:
    """Names this process so that others on its host can tell whether it lives: host, boot, pid, start time."""
    return f"{_host()}:{os.getpid()}:{_start_time(os.getpid())}"


def holder_is_dead(holder: str) -> bool:
    """True only if the holder ran on this host and is certainly gone."""
    host, _, rest = holder.rpartition(":")
    host, _, pid = host.rpartition(":")
    return host == _host() and pid.isdigit() and _start_time(int(pid)) != rest


def view(connection: sa.Connection, name: str) -> LeaseView:
    """The lease as it stands; one that nobody ever held has no holder and epoch 0."""
    row = connection.execute(
        sa.select(leases.c.holder, leases.c.epoch, leases.c.beat).where(leases.c.name == name)
    ).one_or_none()
    return LeaseView(*row) if row else LeaseView(None, 0, 0)


def take(connection: sa.Connection, name: str, seen: LeaseView, holder: str) -> int | None:
    """Takes the lease if it is still as ``seen``; the new epoch, or None when somebody else was quicker."""
    if seen.epoch == 0 and seen.holder is None:
        try:
            with connection.begin_nested():
                connection.execute(sa.insert(leases).values(name=name, holder=holder, epoch=1, beat=0))
        except sa.exc.IntegrityError:
            return None
        return 1
    unchanged = sa.and_(
        leases.c.name == name,
        leases.c.epoch == seen.epoch,
        leases.c.beat == seen.beat,
        leases.c.holder.is_not_distinct_from(seen.holder),
    )
    result = connection.execute(sa.update(leases).where(unchanged).values(holder=holder, epoch=seen.epoch + 1, beat=0))
    return seen.epoch + 1 if result.rowcount else None


def assert_held(connection: sa.Connection, name: str, epoch: int, *, beat: bool = False) -> None:
    """Locks the lease for this transaction and refuses to go on if another engine has taken over.

    ``beat`` shows that we live.
    """
    ours = {"of": name, "ours": epoch}
    still = connection.execute(_BEAT, ours).rowcount if beat else len(connection.execute(_HELD, ours).all())
    if not still:
        raise superseded(name)


def superseded(name: str) -> Conflict:
    """What an engine is told that leads no more."""
    return Conflict(f"Another engine has taken over '{name}'; this one stops.")


def release(connection: sa.Connection, name: str, epoch: int) -> None:
    """Lets the next one take it at once."""
    connection.execute(
        sa.update(leases)
        .where(leases.c.name == name, leases.c.epoch == epoch)
        .values(holder=None, epoch=leases.c.epoch + 1)
    )


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "?"
    return f"{socket.gethostname()}:{boot}"


def _start_time(pid: int) -> str:
    """The process's start in clock ticks since boot (field 22 of its stat), '-' when there is none or it is a
    zombie.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if fields[0] == "Z" else fields[19]
