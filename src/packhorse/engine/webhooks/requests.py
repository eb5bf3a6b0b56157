"""What goes to a webhook in one request: an event of a run, or a batch of events of tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.events import cloud_event, task_event
from packhorse.store.outbox import events_arrived
from packhorse.store.runs import counts_of
from packhorse.store.taskevents import MOST, events_of, shorten

#: One event, or several.
Document = dict[str, Any] | list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """``rows`` of the outbox are those that are told thereby; the last one has more to tell where there is a ``rest``.

    ``document`` is empty where there is nothing left to be told.
    """

    run_id: str
    rows: Sequence[int]
    document: Document
    rest: str | None = None

    def arrived(self, connection: sa.Connection, webhook_seq: int) -> None:
        """It was taken."""
        done = self.rows if self.rest is None else self.rows[:-1]
        events_arrived(connection, done, webhook_seq)
        if self.rest is not None:
            shorten(connection, self.rows[-1], self.rest)


def next_of(connection: sa.Connection, events: deque[Any]) -> Request:
    """Takes the next request from what waits (rows of ``store.outbox.waiting_events``, at least one): events of tasks
    that follow each other go together, up to some hundred.
    """
    first = events[0]
    if first.tasks is None:
        counts = counts_of(connection, {first.run_seq})
        return Request(first.run_id, [events.popleft().id], cloud_event(first, counts[first.run_seq]))
    documents: list[dict[str, Any]] = []
    rows: list[int] = []
    while events and events[0].tasks is not None and len(documents) < MOST:
        event = events[0]
        told, rest = events_of(connection, event)
        if rows and len(documents) + len(told) > MOST:
            break
        documents += [task_event(event, *one) for one in told]
        rows.append(event.id)
        if rest is not None:
            events[0] = _Shortened(event.id, event.run_id, event.run_seq, event.user, rest)
            return Request(first.run_id, rows, documents, rest)
        events.popleft()
    return Request(first.run_id, rows, documents)


@dataclass(frozen=True, slots=True)
class _Shortened:
    """A row of which a part was told."""

    id: int
    run_id: str
    run_seq: int
    user: str
    tasks: str
