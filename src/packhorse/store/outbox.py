"""Events of runs for those who asked to be told: written in the transaction of what they tell of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.store.schema import outbox, runs, webhooks

SUBMITTED, STARTED, ENDED = "submitted", "started", "ended"
KINDS = (SUBMITTED, STARTED, ENDED)

_W, _O = webhooks.c, outbox.c
_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)


def _insert(kind: str, *which: sa.ColumnElement[bool]) -> Any:
    columns = (_W.seq, runs.c.seq, sa.literal(kind), sa.bindparam("at", type_=sa.Float))
    rows = (
        sa.select(*columns)
        .join(runs, runs.c.user == _W.user)
        .where(runs.c.seq.in_(_SEQS), _W.kinds.contains(f" {kind} "), *which)
        .order_by(runs.c.seq, _W.seq)
    )
    return sa.insert(outbox).from_select(["webhook_seq", "run_seq", "kind", "at"], rows)


_TELL_SUBMITTED = _insert(SUBMITTED)
_TELL_STARTED = _insert(STARTED, runs.c.started_at == sa.bindparam("at", type_=sa.Float))
_TELL_ENDED = _insert(ENDED, runs.c.ended_at.is_(None))
_START = sa.update(runs).where(runs.c.seq.in_(_SEQS), runs.c.started_at.is_(None)).values(started_at=sa.bindparam("at"))
_DUE = (
    sa.select(webhooks)
    .where(_W.next_at <= sa.bindparam("now"), sa.exists().where(_O.webhook_seq == _W.seq, sa.not_(_O.given_up)))
    .order_by(_W.next_at, _W.seq)
    .limit(sa.bindparam("most"))
)
_WAITING = (
    sa.select(
        outbox, runs.c.id.label("run_id"), runs.c.user, runs.c.name, runs.c.app, runs.c.created_at, runs.c.started_at,
        runs.c.ended_at,
    )
    .join(runs, runs.c.seq == _O.run_seq)
    .where(_O.webhook_seq == sa.bindparam("webhook"))
    .order_by(_O.id)
    .limit(sa.bindparam("most"))
)  # fmt: skip
_THOSE_THAT_WAIT = _WAITING.where(sa.not_(_O.given_up))
_THOSE_GIVEN_UP = _WAITING.where(_O.given_up)


#: Of a run: whether its user wants to be told of any.
HAS_WEBHOOKS: sa.ColumnElement[bool] = sa.literal_column(  # as text: in a RETURNING SQLAlchemy correlates nothing
    'EXISTS (SELECT 1 FROM webhooks WHERE webhooks."user" = runs."user")', sa.Boolean
).label("has_webhooks")


def tell_submitted(connection: sa.Connection, seqs: Collection[int], at: float) -> None:
    """Runs are visible from now on."""
    connection.execute(_TELL_SUBMITTED, {"seqs": list(seqs), "at": at})


def start_runs(connection: sa.Connection, seqs: Collection[int], at: float) -> None:
    """Tasks of these runs run: of those that had not started, that is told."""
    if connection.execute(_START, {"seqs": list(seqs), "at": at}).rowcount:
        connection.execute(_TELL_STARTED, {"seqs": list(seqs), "at": at})


def tell_ended(connection: sa.Connection, seqs: Collection[int], at: float) -> None:
    """Runs are about to be ended; those that are over already are not told of again."""
    connection.execute(_TELL_ENDED, {"seqs": list(seqs), "at": at})


def due_webhooks(connection: sa.Connection, now: float, most: int) -> Sequence[Any]:
    """Webhooks with events that are to be sent now."""
    return connection.execute(_DUE, {"now": now, "most": most}).all()


def waiting_events(connection: sa.Connection, webhook_seq: int, most: int) -> Sequence[Any]:
    """The first events that wait for a webhook, with their runs."""
    return connection.execute(_THOSE_THAT_WAIT, {"webhook": webhook_seq, "most": most}).all()


def given_up_events(connection: sa.Connection, webhook_seq: int, most: int) -> Sequence[Any]:
    """The first events that a webhook did not take, with their runs."""
    return connection.execute(_THOSE_GIVEN_UP, {"webhook": webhook_seq, "most": most}).all()


def events_arrived(connection: sa.Connection, event_ids: Collection[int], webhook_seq: int) -> None:
    """Events were taken."""
    connection.execute(sa.delete(outbox).where(_O.id.in_(event_ids)))
    all_well = {"tries": 0, "next_at": 0.0, "error": None}
    connection.execute(sa.update(webhooks).where(_W.seq == webhook_seq, _W.error.is_not(None)).values(all_well))


def events_failed(
    connection: sa.Connection, webhook_seq: int, why: str, next_at: float, give_up: Collection[int] = ()
) -> None:
    """Events were not taken: the webhook is left alone until ``next_at``.

    ``give_up``: those that are tried no more.
    """
    if not give_up:
        values: dict[str, Any] = {"tries": _W.tries + 1, "next_at": next_at, "error": why}
    else:
        connection.execute(sa.update(outbox).where(_O.id.in_(give_up)).values(given_up=True))
        values = {"tries": 0, "next_at": next_at, "error": why}
    connection.execute(sa.update(webhooks).where(_W.seq == webhook_seq).values(values))


# --- webhooks ------------------------------------------------------------


def insert_webhook(connection: sa.Connection, values: Mapping[str, Any]) -> None:
    """Inserts a row."""
    connection.execute(sa.insert(webhooks), values)


def list_webhooks(connection: sa.Connection, user: str | None, limit: int) -> Sequence[Any]:
    """Those of ``user``, or of all, with how many events wait and were given up."""
    of_it = _O.webhook_seq == _W.seq
    waiting = sa.select(sa.func.count()).where(of_it, sa.not_(_O.given_up)).scalar_subquery()
    given_up = sa.select(sa.func.count()).where(of_it, _O.given_up).scalar_subquery()
    query = sa.select(webhooks, waiting.label("waiting"), given_up.label("given_up")).order_by(_W.seq).limit(limit)
    return connection.execute(query if user is None else query.where(_W.user == user)).all()


def get_webhook(connection: sa.Connection, public_id: str) -> Any | None:
    """A webhook by its id."""
    return connection.execute(sa.select(webhooks).where(_W.id == public_id)).one_or_none()


def delete_webhook(connection: sa.Connection, seq: int) -> None:
    """Forgets it, and what it was to be told."""
    connection.execute(sa.delete(outbox).where(_O.webhook_seq == seq))
    connection.execute(sa.delete(webhooks).where(_W.seq == seq))


def send_again(connection: sa.Connection, seq: int) -> None:
    """What was given up is sent again, and soon."""
    connection.execute(sa.update(outbox).where(_O.webhook_seq == seq).values(given_up=False))
    connection.execute(sa.update(webhooks).where(_W.seq == seq).values(tries=0, next_at=0.0))
