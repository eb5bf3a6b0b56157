"""Images at sites, and the images that runs want."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.schema import images, run_images, runs

READY = "READY"
_OPEN = sa.and_(runs.c.ended_at.is_(None), runs.c.visible)
_WANTS = run_images.join(runs, runs.c.seq == run_images.c.run_seq)
_AT_SITE = sa.and_(images.c.site == run_images.c.site, images.c.digest == run_images.c.digest)


def want_images(connection: sa.Connection, run_seq: int, images: Mapping[str, Collection[str]]) -> None:
    """Notes which images (references by site) a run wants; belongs in the transaction that inserts the run."""
    rows = [
        {"run_seq": run_seq, "reference": reference, "site": site, "failed": False}
        for site, references in sorted(images.items())
        for reference in sorted(set(references))
    ]
    if rows:
        connection.execute(sa.insert(run_images), rows)


def references_of(connection: sa.Connection, run_seq: int) -> dict[str, list[str]]:
    """The references that a run names, by site."""
    found: dict[str, list[str]] = {}
    columns = (run_images.c.site, run_images.c.reference)
    for row in connection.execute(sa.select(*columns).where(run_images.c.run_seq == run_seq)):
        found.setdefault(row.site, []).append(row.reference)
    return found


def unresolved(connection: sa.Connection, site: str) -> dict[str, list[int]]:
    """Open runs by the references whose digests they do not know yet."""
    query = sa.select(run_images.c.reference, run_images.c.run_seq).select_from(_WANTS)
    found: dict[str, list[int]] = {}
    waiting = sa.and_(_OPEN, run_images.c.site == site, run_images.c.digest.is_(None), sa.not_(run_images.c.failed))
    for row in connection.execute(query.where(waiting).order_by(run_images.c.run_seq)):
        found.setdefault(row.reference, []).append(row.run_seq)
    return found


def set_digest(connection: sa.Connection, reference: str, run_seqs: Collection[int], digest: str) -> None:
    """What a reference means to these runs, from now on."""
    which = sa.and_(run_images.c.reference == reference, run_images.c.run_seq.in_(run_seqs))
    connection.execute(sa.update(run_images).where(which).values(digest=digest, error=None))


def note_want(
    connection: sa.Connection, reference: str, run_seqs: Collection[int], error: str, *, failed: bool
) -> None:
    """Why a reference has no digest yet, or, if ``failed``, will never have one."""
    which = sa.and_(run_images.c.reference == reference, run_images.c.run_seq.in_(run_seqs))
    connection.execute(sa.update(run_images).where(which).values(error=error, failed=failed))


def find_image(connection: sa.Connection, site: str, digest: str) -> Any | None:
    """An image of a site."""
    return connection.execute(sa.select(images).where(images.c.site == site, images.c.digest == digest)).one_or_none()


def insert_image(connection: sa.Connection, values: dict[str, Any], now: float) -> None:
    """A new image, wanted from ``now`` on; ``values``: site, digest, reference, state, download_bytes, config."""
    fresh = {"tries": 0, "not_before": 0.0, "done_bytes": 0, "preparations": 0, "created_at": now, "last_used_at": now}
    connection.execute(sa.insert(images).values({**fresh, **values}))


def update_image(connection: sa.Connection, seq: int, **values: Any) -> None:
    """Sets columns of one image."""
    connection.execute(sa.update(images).where(images.c.seq == seq).values(values))


def delete_image(connection: sa.Connection, seq: int) -> None:
    """Forgets an image that is no longer at its site."""
    connection.execute(sa.delete(images).where(images.c.seq == seq))


def images_at(connection: sa.Connection, site: str | None = None) -> Sequence[Any]:
    """The images of a site, or of all, oldest first; ``waiting_runs`` are the open runs that want it."""
    waiting = (
        sa.select(sa.func.count())
        .select_from(_WANTS)
        .where(_OPEN, run_images.c.site == images.c.site, run_images.c.digest == images.c.digest)
        .scalar_subquery()
    )
    query = sa.select(images, waiting.label("waiting_runs")).order_by(images.c.site, images.c.seq)
    return connection.execute(query if site is None else query.where(images.c.site == site)).all()


def digests_in_use(connection: sa.Connection, site: str) -> frozenset[str]:
    """Digests that open runs want at a site."""
    query = (
        sa.select(run_images.c.digest)
        .select_from(_WANTS)
        .where(_OPEN, run_images.c.site == site, run_images.c.digest.is_not(None))
    )
    return frozenset(connection.execute(query.distinct()).scalars())


def touch_images(connection: sa.Connection, site: str, digests: Collection[str], now: float) -> None:
    """Remembers that images are in use."""
    if digests:
        connection.execute(
            sa.update(images).where(images.c.site == site, images.c.digest.in_(digests)).values(last_used_at=now)
        )


def fail_wants(connection: sa.Connection, site: str, digest: str, error: str) -> None:
    """No open run will get this image."""
    open_runs = sa.select(runs.c.seq).where(_OPEN)
    which = sa.and_(run_images.c.site == site, run_images.c.digest == digest, run_images.c.run_seq.in_(open_runs))
    connection.execute(sa.update(run_images).where(which).values(failed=True, error=error))


def failed_wants(connection: sa.Connection, site: str) -> Sequence[Any]:
    """(run_seq, reference, error) of open runs that want an image which they will never get."""
    columns = (run_images.c.run_seq, run_images.c.reference, run_images.c.error)
    query = sa.select(*columns).select_from(_WANTS).where(_OPEN, run_images.c.site == site, run_images.c.failed)
    return connection.execute(query.order_by(run_images.c.run_seq)).all()


def runs_without_images(site: str) -> sa.Select[Any]:
    """The open runs that want an image which is not ready at their site, and may be: one that a run will never get
    holds nobody. The tasks that run in it fail, and the others go on.
    """
    query = sa.select(run_images.c.run_seq).select_from(_WANTS.join(images, _AT_SITE, isouter=True))
    not_ready = sa.or_(images.c.state.is_(None), images.c.state != READY)
    return query.where(_OPEN, run_images.c.site == site, sa.not_(run_images.c.failed), not_ready)


def wants_of(connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, list[Any]]:
    """What runs want, and how far that is, by run.

    Rows have reference, site, digest, failed, error; of the image: full_reference, state, done_bytes, download_bytes,
    config, gateway_id.
    """
    c = run_images.c
    error = sa.func.coalesce(images.c.error, c.error).label("error")
    columns = (c.run_seq, c.reference, c.site, c.digest, c.failed, error)
    progress = (images.c.state, images.c.done_bytes, images.c.download_bytes)
    prepared = (images.c.config, images.c.gateway_id, images.c.reference.label("full_reference"))
    query = sa.select(*columns, *progress, *prepared).select_from(run_images.join(images, _AT_SITE, isouter=True))
    found: dict[int, list[Any]] = {seq: [] for seq in run_seqs}
    for some in chunks(run_seqs):
        for row in connection.execute(query.where(c.run_seq.in_(some)).order_by(c.run_seq, c.reference)):
            found[row.run_seq].append(row)
    return found
