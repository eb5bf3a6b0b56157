"""A user's webhooks: who is told of their runs."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from packhorse.domain.access import POLICY, Action, Owned
from packhorse.domain.accessviews import NewWebhookView, WebhookView
from packhorse.domain.dataurl import url_problem
from packhorse.domain.errors import InvalidRequest, NotFound, TooLarge
from packhorse.domain.events import SECRET, cloud_event, task_event
from packhorse.domain.ids import new_id
from packhorse.domain.text import text_problem
from packhorse.domain.users import User
from packhorse.engine.sealing import Seal
from packhorse.http.reach import Reach
from packhorse.store.audit import note_change
from packhorse.store.database import Database
from packhorse.store.outbox import (
    KINDS,
    delete_webhook,
    get_webhook,
    given_up_events,
    insert_webhook,
    list_webhooks,
    send_again,
)
from packhorse.store.runs import counts_of
from packhorse.store.taskevents import TASK_KINDS, events_of

MAX_WEBHOOKS = 20
"""Of one user."""
MAX_SHOWN = 1000


class OwnWebhooks:
    """What one user may ask for about webhooks; an admin sees and removes those of others, too."""

    def __init__(self, database: Database, user: User, seal: Seal, reach: Reach | None) -> None:
        self._database, self._user, self._seal, self._reach = database, user, seal, reach

    def make(self, url: str, kinds: Collection[str] | None = None) -> NewWebhookView:
        """Tells ``url`` of one's runs from now on. Raises InvalidRequest, TooLarge."""
        POLICY.require(self._user, Action.KEEP)
        self._check(url)
        known = (*KINDS, *TASK_KINDS)
        chosen = [kind for kind in known if kind in (KINDS if kinds is None else kinds)]
        if not chosen or set(kinds or ()) - set(known):
            raise InvalidRequest("A webhook is told of events that there are.", hint=f"They are {', '.join(known)}.")
        secret = SECRET + base64.b64encode(secrets.token_bytes(32)).decode()
        row = {
            "id": new_id("w"),
            "user": self._user.name,
            "url": url,
            "kinds": f" {' '.join(chosen)} ",
            "secret": self._seal.close(secret),
            "tells_tasks": not set(chosen) <= set(KINDS),
            "created_at": time.time(),
        }
        with self._database.write() as connection:
            if len(list_webhooks(connection, self._user.name, MAX_WEBHOOKS)) >= MAX_WEBHOOKS:
                raise TooLarge(f"You may have {MAX_WEBHOOKS} webhooks.", hint="Remove one that you need no more.")
            insert_webhook(connection, row)
            note_change(connection, self._user.name, "webhook made", f"{row['id']} for {urlsplit(url).hostname}")
        told: dict[str, Any] = {"waiting": 0, "given_up": 0, "error": None, "next_at": 0.0, "tries": 0}
        return NewWebhookView(**_view_of({**row, **told}).model_dump(), secret=secret)

    def views(self) -> list[WebhookView]:
        """One's own; an admin's answer has everybody's."""
        POLICY.require(self._user, Action.LOOK)
        whose = None if POLICY.allows(self._user, Action.SEE_ALL) else self._user.name
        with self._database.read() as connection:
            return [_view_of(row._mapping) for row in list_webhooks(connection, whose, MAX_SHOWN)]

    def remove(self, webhook_id: str) -> None:
        """Tells it nothing more. Raises NotFound."""
        with self._database.write() as connection:
            row = self._row(connection, webhook_id)
            delete_webhook(connection, row.seq)
            note_change(connection, self._user.name, "webhook removed", f"{webhook_id} of {row.user}")

    def given_up(self, webhook_id: str) -> list[dict[str, Any]]:
        """The events that it did not take, and that are tried no more, oldest first. Raises NotFound."""
        with self._database.read() as connection:
            events = given_up_events(connection, self._row(connection, webhook_id).seq, MAX_SHOWN)
            counts = counts_of(connection, {event.run_seq for event in events})
            found: list[dict[str, Any]] = []
            for event in events:
                if len(found) >= MAX_SHOWN:
                    break
                if event.tasks is None:
                    found.append(cloud_event(event, counts[event.run_seq]))
                else:
                    found += [task_event(event, *one) for one in events_of(connection, event)[0]]
        return found[:MAX_SHOWN]

    def send_again(self, webhook_id: str) -> None:
        """Sends what was given up, and what waits, soon. Raises NotFound."""
        with self._database.write() as connection:
            send_again(connection, self._row(connection, webhook_id).seq)

    def _row(self, connection: Any, webhook_id: str) -> Any:
        POLICY.require(self._user, Action.KEEP)
        row = None if text_problem(webhook_id) or len(webhook_id) > 32 else get_webhook(connection, webhook_id)
        if row is None or not POLICY.decide(self._user, Action.CHANGE, Owned(row.user)).allowed:
            raise NotFound(f"There is no webhook '{webhook_id[:60]}'.", hint="GET /api/v1/webhooks lists them.")
        return row

    def _check(self, url: str) -> None:
        """Raises InvalidRequest."""
        example = "It is like https://example.org/hook."
        try:
            parts = urlsplit(url)
        except ValueError:
            raise InvalidRequest("The URL of the webhook cannot be read.", hint=example) from None
        if parts.scheme not in ("http", "https") or len(url) > 2000 or url_problem(url):
            raise InvalidRequest(f"'{url[:60]}' cannot be the URL of a webhook.", hint=example)
        if "@" in parts.netloc:
            raise InvalidRequest("The URL of a webhook holds no password.", hint="Check its signature instead.")
        if self._reach is not None and self._reach.is_inside(parts.hostname or ""):
            raise InvalidRequest(
                f"{parts.hostname} is in this server's own network, where webhooks do not lead.",
                hint="Its operator can open it ([server] private_networks in its packhorse.toml).",
            )


def _view_of(row: Any) -> WebhookView:
    return WebhookView(
        id=row["id"],
        user=row["user"],
        url=row["url"],
        events=row["kinds"].split(),
        created_at=row["created_at"],
        waiting=row["waiting"],
        given_up=row["given_up"],
        error=row["error"],
        next_at=row["next_at"] or None,
    )
