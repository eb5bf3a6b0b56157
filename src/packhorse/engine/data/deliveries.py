"""Delivers the outputs of tasks that ended well to their URLs.

A delivery that fails is tried again by itself: the task is not.

A task whose outputs are on their way stays RUNNING, without an allocation, until all are there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

from packhorse.domain.failures import FailureClass
from packhorse.domain.ourselves import make_private_folder
from packhorse.domain.outputpath import kept_as, normal
from packhorse.domain.outputurl import below, file_target, has_folders
from packhorse.domain.states import DataState, TaskState
from packhorse.engine.clock import Clock
from packhorse.engine.data.listing import Found, look
from packhorse.engine.lease import Lease
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.growth import Growth
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.site import Site
from packhorse.staging import data as machine
from packhorse.staging.data import Fetch, NotFetched, Trouble, advance
from packhorse.staging.folders import make_folders
from packhorse.store import deliveries as stored
from packhorse.store.database import Database
from packhorse.store.moves import Move, apply_moves, lock_tasks

if TYPE_CHECKING:
    from packhorse.engine.data.datajob import Carrier

_AT_ONCE = 4
_LOOK_AT = 200
_log = structlog.get_logger("packhorse.data")


@dataclass
class _Sending:
    """One output on its way. Its thread writes one of the three before ``over``."""

    sent: dict[str, Any] | None = None
    files: Sequence[Found] | None = None
    failed: NotFetched | None = None
    over: threading.Event = field(default_factory=threading.Event)


class Deliveries:
    """Drives the deliveries from one site; ``source`` is where an output of a task lies there."""

    def __init__(
        self, site: Site, database: Database, lease: Lease, clock: Clock, wake: threading.Event, folder: Path
    ) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._clock = clock
        self._wake = wake
        self._folder = folder
        self._growth = Growth(Steps(), site)
        self._sending: dict[int, _Sending] = {}
        self._modes: dict[str, int] = {}  # of files of folders that were looked into, by source

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way."""
        return bool(self._sending)

    def tick(self, carrier: Any) -> bool:
        """One step; whether anything moved. ``carrier`` gives a Carrier when it is called."""
        with self._database.read() as connection:
            rows = stored.open_deliveries(connection, self._site.name, _LOOK_AT, self._sending)
            canceled = stored.unfinished_cancels(connection, self._site.name) if rows else []
        if not rows:
            self._modes.clear()
        moved = False
        for gone in self._sending.keys() - {
            row.id for row in rows
        }:  # its task was canceled, or failed for another output
            if self._sending[gone].over.is_set():
                del self._sending[gone]
        if canceled:
            self._cancel(canceled)
            moved = True
        for row in rows:
            sending = self._sending.get(row.id)
            if sending is not None and sending.over.is_set():
                del self._sending[row.id]
                self._settle(row, sending)
                moved = True
            elif (
                sending is None
                and row.task_state == TaskState.RUNNING
                and len(self._sending) < _AT_ONCE
                and self._is_due(row)
            ):
                self._begin(row, carrier())
                moved = True
        return moved

    def _is_due(self, row: Any) -> bool:
        now = self._clock.now()
        if not (row.not_before <= now or row.not_before > now + 2 * machine.MAX_BACKOFF_S):
            return False
        if not row.path.endswith("/"):
            return True
        with (
            self._database.read() as connection
        ):  # folders may be closed to writing: they come after all that is in them
            return not stored.are_files_open(connection, row.task_id, row.attempt)

    def _begin(self, row: Any, carrier: Carrier) -> None:
        with self._lease.write() as connection:
            self._advance(connection, row.id, machine.Interrupted(), machine.Begun())
        sending = self._sending[row.id] = _Sending()

        def work() -> None:
            self._send(row, sending, carrier)
            sending.over.set()
            self._wake.set()

        threading.Thread(target=work, name=f"delivery-{row.id}", daemon=True).start()

    def _send(self, row: Any, sending: _Sending, carrier: Carrier) -> None:
        """In a thread of its own; touches no store."""
        try:
            if row.path.endswith("/"):
                make_folders(self._folder_modes(row.source), Path(file_target(row.url)))
                sending.sent = {"url": row.url, "size": 0, "sha256": None}
                return
            mode = self._modes.get(row.source)
            if mode is None:
                found = look(self._site, row.source)
                if not found[0].is_file:
                    sending.files = found
                    return
                mode = found[0].mode
            with self._on_this_machine(row) as path:
                sending.sent = carrier.deliver(path, row.url, mode)
            self._modes.pop(row.source, None)
        except NotFetched as failure:
            sending.failed = failure
        except FileNotFoundError:
            sending.failed = NotFetched(Trouble.REFUSED, f"It is no longer at '{self._site.name}'.")
        except SiteUnreachable as error:
            sending.failed = NotFetched(Trouble.SITE, error.message)
        except PermissionError:
            sending.failed = NotFetched(
                Trouble.REFUSED, f"It cannot be read at '{self._site.name}': its mode does not allow it."
            )
        except OSError as error:
            sending.failed = NotFetched(
                Trouble.AWAY, f"It cannot be read at '{self._site.name}': {error.strerror or error}."
            )
        except Exception as error:  # a bug of ours: said loudly, and the others go on
            _log.exception("delivery_failed", site=self._site.name, delivery=row.id)
            sending.failed = NotFetched(
                Trouble.AWAY, f"Packhorse failed to deliver it ({type(error).__name__}); its log says more."
            )

    def _folder_modes(self, path: str) -> list[tuple[str, int]]:
        return [(found.name, found.mode) for found in look(self._site, path) if not found.is_file]

    @contextmanager
    def _on_this_machine(self, row: Any) -> Iterator[Path]:
        """The file itself, or a copy of it for the time being."""
        if self._site.transport.is_local:
            yield Path(row.source)
            return
        copy = self._folder / f"delivery-{row.id}" / Path(row.source).name
        try:
            make_private_folder(copy.parent)
            with copy.open("wb") as file:
                while data := self._site.transport.read(row.source, file.tell(), 4 << 20):
                    file.write(data)
            yield copy
        finally:
            copy.unlink(missing_ok=True)
            with suppress(OSError):
                copy.parent.rmdir()

    def _settle(self, row: Any, sending: _Sending) -> None:
        now = self._clock.now()
        with self._lease.write() as connection:
            if sending.files is not None:
                stored.remove_delivery(connection, row.id)
                stored.add_deliveries(connection, self._site.name, self._rows_of(row, sending.files))
            elif sending.sent is not None:
                self._advance(connection, row.id, machine.Stored(), **sending.sent)
                _log.info(
                    "delivered",
                    site=self._site.name,
                    task=row.task_id,
                    url=sending.sent["url"],
                    sha256=sending.sent["sha256"],
                )
            elif sending.failed is not None:
                _log.warning(
                    "not_delivered", site=self._site.name, task=row.task_id, url=row.url, reason=sending.failed.message
                )
                self._failed(connection, row, sending.failed, now)
            if sending.failed is None and stored.are_all_delivered(connection, row.task_id, row.attempt):
                stored.note_delivered(connection, row.task_id, row.attempt)
                self._end(connection, [row.task_id], TaskState.COMPLETE, now, None, {"failure": None, "reason": None})

    def _rows_of(self, row: Any, found: Sequence[Found]) -> list[dict[str, Any]]:
        """The files of a folder, each to be delivered by itself, and, where the target has such, its folders, as one
        row at the end.
        """
        one = {"task_id": row.task_id, "attempt": row.attempt}
        rows = []
        for entry in found:
            if entry.is_file:
                source = f"{row.source}/{entry.name}"
                self._modes[source] = entry.mode
                rows.append(
                    {
                        **one,
                        "path": f"{row.path.rstrip('/')}/{entry.name}",
                        "source": source,
                        "url": below(row.url, entry.name),
                    }
                )
        if has_folders(row.url):
            rows.append({**one, "path": f"{row.path.rstrip('/')}/", "source": row.source, "url": row.url})
        return rows

    def _failed(self, connection: sa.Connection, row: Any, failed: NotFetched, now: float) -> None:
        fetch = self._advance(connection, row.id, machine.Failed(failed.trouble, failed.message, failed.after_s))
        if fetch.state is not DataState.FAILED:
            why = f"It has finished; its output '{row.path}' did not get to {row.url} yet: {failed.message}"
            stored.note_reason(connection, row.task_id, why)
            return
        why = f"It has finished, but its output '{row.path}' could not be delivered to {row.url}: {fetch.error}"
        stored.drop_deliveries(connection, row.task_id)
        self._end(
            connection,
            [row.task_id],
            TaskState.SYSTEM_ERROR,
            now,
            why,
            {"failure": FailureClass.STAGING, "reason": why},
        )

    def _cancel(self, ids: Sequence[int]) -> None:
        now = self._clock.now()
        why = "It had finished when the cancel arrived; its outputs are not delivered."
        with self._lease.write() as connection:
            for task in ids:
                stored.drop_deliveries(connection, task)
            self._end(connection, ids, TaskState.CANCELED, now, why, {"failure": FailureClass.CANCELED, "reason": why})

    def _end(
        self,
        connection: sa.Connection,
        ids: Sequence[int],
        state: TaskState,
        now: float,
        why: str | None,
        changes: dict[str, Any],
    ) -> None:
        moves = [Move(task, state, now, why, {**changes, "ended_at": now}) for task in ids]
        apply_moves(connection, moves, lock_tasks(connection, ids), self._growth.grow)

    def _advance(self, connection: sa.Connection, delivery: int, *events: machine.Event, **values: Any) -> Fetch:
        row = stored.lock_delivery(connection, delivery)
        fetch = Fetch(DataState(row.state), row.tries, row.wrong, row.not_before, error=row.error)
        for event in events:
            fetch = advance(fetch, event, self._clock.now())
        moved = {name: value for name, value in asdict(fetch).items() if name not in ("bytes_done", "best_bytes")}
        stored.update_delivery(connection, delivery, **moved, **values)
        return fetch


def of_outputs(urls: Sequence[tuple[str, str]], folder: str, task: int, attempt: int) -> list[dict[str, Any]]:
    """The rows of what an attempt left in its output ``folder`` and is to go to ``urls``: (path, URL).

    None is in another.
    """
    wanted = dict.fromkeys((normal(path), url) for path, url in urls)
    outermost = [(path, url) for path, url in wanted if not any(_goes_along(path, url, *other) for other in wanted)]
    one = {"task_id": task, "attempt": attempt}
    return [{**one, "path": path, "source": f"{folder}/{kept_as(path)}", "url": url} for path, url in outermost]


def _goes_along(path: str, url: str, outer: str, outer_url: str) -> bool:
    """Whether an output gets to its URL with the folder that it lies in."""
    return path.startswith(f"{outer}/") and url == below(outer_url, path[len(outer) + 1 :])
