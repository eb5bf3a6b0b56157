"""Which steps are held: those that want an image which is not ready at their site, or data that is not there."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.demands import hold_steps
from packhorse.store.images import runs_without_images
from packhorse.store.schema import run_images, runs, step_data, steps

_WAITS_FOR_DATA = sa.exists().where(step_data.c.step_seq == steps.c.seq, step_data.c.path.is_(None))


def settle_holds(connection: sa.Connection, site: str) -> int:
    """Holds the steps of open runs that want an image which is not ready at their site, and lets those go that wait
    for nothing.

    Returns how many steps changed. Whoever changes what images are says this afterwards, in the same transaction.
    """
    waiting = set(connection.execute(runs_without_images(site)).scalars())
    free = [row.seq for row in connection.execute(_held(site)) if row.run_seq not in waiting]
    hold_steps(connection, free, held=False)
    changed = len(free)
    for some in chunks(waiting):
        going = sa.select(steps.c.seq).where(steps.c.run_seq.in_(some), steps.c.site == site, sa.not_(steps.c.held))
        seqs = connection.execute(going).scalars().all()
        hold_steps(connection, seqs, held=True)
        changed += len(seqs)
    return changed


def free_steps(connection: sa.Connection, site: str, seqs: Collection[int]) -> None:
    """Lets those of these steps go that wait for nothing any more."""
    for some in chunks(seqs):
        mine = connection.execute(_held(site).where(steps.c.seq.in_(some))).all()
        of_runs = run_images.c.run_seq.in_({row.run_seq for row in mine})
        waiting = set(connection.execute(runs_without_images(site).where(of_runs)).scalars())
        hold_steps(connection, [row.seq for row in mine if row.run_seq not in waiting], held=False)


def _held(site: str) -> sa.Select[tuple[int, int]]:
    """The steps that are held and wait for no data."""
    query = sa.select(steps.c.seq, steps.c.run_seq).join(runs, runs.c.seq == steps.c.run_seq)
    return query.where(steps.c.site == site, sa.text("held"), runs.c.visible, sa.not_(_WAITS_FOR_DATA))
