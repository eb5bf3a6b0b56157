"""Who is told of runs, and what they are still to be told."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.store.columns import Said
from packhorse.store.schema.base import BigKey, metadata, partial_index

_TELLS = sa.text("tells_tasks")

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("url", sa.String(2000), nullable=False),
    sa.Column("kinds", sa.String(100), nullable=False),  # of events, each between blanks
    sa.Column("secret", sa.LargeBinary, nullable=False),  # sealed: what signs its events
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, default=0),  # in a row that failed
    sa.Column("next_at", sa.Float, nullable=False, default=0.0),  # when the first event that waits is sent
    sa.Column("error", Said),  # of the last try, where it failed
    sa.Column("tells_tasks", sa.Boolean, nullable=False, server_default=sa.false()),  # not of runs alone
    sa.Index("ix_webhooks_user", "user"),
    partial_index("ix_webhooks_tasks", "user", where=_TELLS),
)

_WAITS = sa.text("NOT given_up")

#: Events that are to be sent, in this order; they are written with what they tell of, and go when they have arrived.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("webhook_seq", sa.BigInteger, nullable=False),
    sa.Column("run_seq", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("tasks", sa.Text),  # JSON: events of tasks, many of them (store.taskevents)
    sa.Column("given_up", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("ix_outbox_webhook", "webhook_seq", "id"),
    partial_index("ix_outbox_waits", "webhook_seq", "id", where=_WAITS),
    sqlite_autoincrement=True,
)
