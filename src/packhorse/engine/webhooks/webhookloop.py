"""Sends events of runs and tasks to webhooks: at least once, in order for each webhook, one that does not answer
holding up no other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from packhorse.domain.backoff import wait_after
from packhorse.domain.errors import PackhorseError
from packhorse.domain.events import signed
from packhorse.engine.clock import Clock
from packhorse.engine.loop import Loop
from packhorse.engine.sealing import Seal
from packhorse.engine.webhooks.requests import Document, next_of
from packhorse.http.errors import NotReached, Stopped
from packhorse.http.reach import Reach
from packhorse.store.database import Database
from packhorse.store.outbox import due_webhooks, events_failed, waiting_events

if TYPE_CHECKING:
    from packhorse.http.client import Http

ANSWER_S = 10.0
"""A receiver has so long to take an event."""
MOST_TRIES = 16
"""Of one event, over half a day; then it is given up, and can be sent again by hand."""
_BACK_OFF_S = (5.0, 7200.0)
_LOOK_S = 1.0
_AT_ONCE = 8  # webhooks that are spoken to
_IN_A_ROW = 50  # events of one webhook before others have their turn
_LIMIT = 64_000  # bytes of an answer, which nobody looks at

_log = structlog.get_logger("packhorse.webhooks")


class WebhookLoop(Loop):
    """Looks once a second what is to be sent."""

    def __init__(
        self, database: Database, clock: Clock, tell: threading.Event, seal: Seal, reach: Reach | None
    ) -> None:
        super().__init__("webhooks", clock, tell)
        self._database, self._seal = database, seal
        self._stopping = threading.Event()
        self._reach = reach
        self._http: Http | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._busy: dict[int, Future[None]] = {}
        self._look_at = float("-inf")

    def end(self) -> None:
        self._stopping.set()
        super().end()

    def recover(self) -> None:
        """Another engine may have led meanwhile."""
        self._stopping.clear()

    def tick(self, monotonic: float) -> bool:
        """Hands what is due to threads; whether anything was."""
        self._busy = {seq: one for seq, one in self._busy.items() if not one.done()}
        if monotonic < self._look_at:
            return False
        self._look_at = monotonic + _LOOK_S
        with self._database.read() as connection:
            due = due_webhooks(connection, time.time(), 10 * _AT_ONCE)
        found = [row for row in due if row.seq not in self._busy]
        if found and self._pool is None:
            from packhorse.http.client import Http  # slow to import, and many runs tell nobody

            self._http = Http(timeout_s=ANSWER_S, stop=self._stopping, reach=self._reach)
            self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="packhorse-webhook")
        for row in found[: 2 * _AT_ONCE]:
            assert self._pool is not None
            self._busy[row.seq] = self._pool.submit(self._send_all, row)
        return False

    def leave(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _send_all(self, webhook: Any) -> None:
        """The events of one webhook in order, until one is not taken."""
        try:
            with self._database.read() as connection:
                events = deque(waiting_events(connection, webhook.seq, _IN_A_ROW))
            secret = self._seal.open(webhook.secret)
            while events and not self._stopping.is_set():
                with self._database.read() as connection:
                    some = next_of(connection, events)
                why = self._send(webhook.url, secret, some.document) if some.document else None
                with self._database.write() as connection:
                    if why is None:
                        some.arrived(connection, webhook.seq)
                        continue
                    tries = webhook.tries + 1
                    gives_up = tries >= MOST_TRIES
                    next_at = time.time() + (0.0 if gives_up else wait_after(tries, *_BACK_OFF_S))
                    events_failed(connection, webhook.seq, why, next_at, some.rows if gives_up else ())
                _log.warning("webhook_not_taken", webhook=webhook.id, run=some.run_id, reason=why, gives_up=gives_up)
                return
        except Stopped:
            return
        except PackhorseError as error:
            _log.warning("webhook_waits", webhook=webhook.id, reason=str(error))
        except Exception:
            _log.exception("webhook_failed", webhook=webhook.id)

    def _send(self, url: str, secret: str, document: Document) -> str | None:
        """Why an event was not taken; None when it was."""
        assert self._http is not None
        body, headers = signed(document, secret, time.time())
        try:
            with self._http.stream("POST", url, content=body, headers=headers, total_s=ANSWER_S) as answer:
                return None if answer.is_success else f"it answers {answer.status_code}"
        except NotReached as error:
            return error.what
