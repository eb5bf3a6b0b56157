"""Who changed what. A line commits with the change that it tells of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.store.schema import audit

_INSERT = sa.insert(audit)


def note_change(connection: sa.Connection, user: str, action: str, what: str) -> None:
    """Adds a line: ``user`` did ``action`` (such as 'token made') with ``what``."""
    connection.execute(_INSERT, {"at": time.time(), "user": user, "action": action, "what": what})


def changes(connection: sa.Connection, before: int | None, limit: int) -> Sequence[Any]:
    """The newest lines first; ``before`` is the id of the last one seen."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    return connection.execute(query if before is None else query.where(audit.c.id < before)).all()
