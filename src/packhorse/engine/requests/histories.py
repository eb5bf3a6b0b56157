"""History that leaves a store, and that comes from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import TooLarge
from packhorse.domain.history import Features, HistoryRow
from packhorse.engine.steps.features import features_json
from packhorse.store.records import add_history, history_since

MOST_ROWS = 5000  # in one request
_OWN = tuple(name for name in HistoryRow.model_fields if name != "features")


def page_of_history(connection: sa.Connection, after: int, limit: int) -> tuple[list[HistoryRow], int | None]:
    """At most ``limit`` rows after the one with this ``seq``, and that of the last where there may be more."""
    rows = history_since(connection, after, limit)
    return [_view(row) for row in rows], rows[-1].seq if len(rows) == limit else None


def keep_rows(connection: sa.Connection, rows: Sequence[HistoryRow]) -> int:
    """Adds rows of elsewhere, which belong to no task here; returns how many. Raises TooLarge."""
    if len(rows) > MOST_ROWS:
        raise TooLarge(f"These are {len(rows):,} rows; the limit is {MOST_ROWS:,}.", hint="Send them in pieces.")
    add_history(connection, [_stored(row) for row in rows])
    return len(rows)


def _view(row: Any) -> HistoryRow:
    values = {name: getattr(row, name) for name in _OWN}
    return HistoryRow.model_construct(**values, features=Features.model_construct(**json.loads(row.features)))


def _stored(row: HistoryRow) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in _OWN}
    return {**values, "task_id": None, "features": features_json(row.features)}
