"""What front doors may ask for.

The HTTP API and the embedded client are thin layers over this; permissions are checked here.
"""

from __future__ import annotations

import errno
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import Conflict, InvalidRequest, NotFound, PackhorseError
from packhorse.domain.failures import FailureClass
from packhorse.domain.ids import is_run_id, new_id, parse_task_id
from packhorse.domain.outputpath import kept_as
from packhorse.domain.paths import folder_problem
from packhorse.domain.run import SubmittedRun
from packhorse.domain.states import TERMINAL, TaskState
from packhorse.domain.views import (
    Account,
    AccountBy,
    AppView,
    Check,
    ImageView,
    LogPart,
    Page,
    RunView,
    SiteView,
    TaskDetail,
    TaskView,
    UsageView,
    User,
)
from packhorse.engine.notifier import Notifier
from packhorse.engine.requests.accounting import account
from packhorse.engine.requests.again import accept_retry
from packhorse.engine.requests.doctor import examine, examine_site
from packhorse.engine.requests.documents import (
    attempt_view,
    data_view,
    event_view,
    image_view,
    run_view,
    site_view,
    task_view,
    tes_document,
    waiting_reason,
    waits_for_data,
    waits_for_images,
)
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.line import waits_for_others, waits_for_size
from packhorse.engine.requests.reuseview import reuse_view
from packhorse.engine.requests.submitting import Rows, Submission, Submissions, Written
from packhorse.engine.requests.taskout import read_log
from packhorse.engine.requests.usage import sum_usage
from packhorse.engine.requests.waiting import WaitingRoom
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.results import iter_results
from packhorse.sites.site import Site, not_configured, site_named
from packhorse.staging.apps import AppCatalog
from packhorse.store.allocations import get_allocation, live_allocations
from packhorse.store.data import awaited_data, data_of_task
from packhorse.store.database import Database
from packhorse.store.images import images_at, wants_of
from packhorse.store.lookups import source_of
from packhorse.store.moves import Move, apply_moves, cancel_queued, lock_tasks
from packhorse.store.runs import counts_of, get_run, list_runs
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.shares import iter_shares
from packhorse.store.steps import counts_of_steps, steps_of_run
from packhorse.store.tasks import attempts_of, events_of, get_task, ids_in_states, page_of_tasks, tasks_with_files

MAX_PAGE = 1000


class Service:
    """Every method checks that ``user`` may do this, and raises the refusals of ``domain.errors``:

    NotFound also for what is not theirs.
    """

    def __init__(
        self,
        database: Database,
        sites: Sequence[Site],
        catalog: AppCatalog,
        files: FileRules,
        wake: Callable[[], None] = lambda: None,
        notifier: Notifier | None = None,
        downloads: Path = Path("downloads"),
    ) -> None:
        self._database = database
        self._sites = {site.name: site for site in sites}
        self._catalog = catalog
        self._steps = Steps()
        self._submissions = Submissions(database, sites, catalog, files, wake)
        self._wake = wake
        self._waiting_room = WaitingRoom(database, notifier or Notifier())
        self._downloads = downloads

    # --- runs ------------------------------------------------------------

    def submit(self, user: User, request: SubmittedRun, rows: Rows | None = None) -> RunView:
        """Accepts a run, or refuses it with all that is wrong. ``rows`` (streamed) stands in for ``AppRun.over``."""
        return self._write(user, self._submissions.check(user, request, rows))

    def submit_many(
        self, user: User, requests: Sequence[SubmittedRun | PackhorseError]
    ) -> list[RunView | PackhorseError]:
        """By position: the run, or why it was refused; each by itself. What is a refusal already stays one."""
        checked = [self._checked(user, request) for request in requests]
        written = self._submissions.write_many(checked)
        return [self._answer(user, one, done) for one, done in zip(checked, written, strict=True)]

    def _checked(self, user: User, request: SubmittedRun | PackhorseError) -> Submission | PackhorseError:
        try:
            return request if isinstance(request, PackhorseError) else self._submissions.check(user, request)
        except PackhorseError as error:
            return error

    def _answer(
        self, user: User, submission: Submission | PackhorseError, written: Written | PackhorseError
    ) -> RunView | PackhorseError:
        if isinstance(submission, PackhorseError):
            return submission
        return written if isinstance(written, PackhorseError) else self._view(user, submission, written)

    def _write(self, user: User, submission: Submission) -> RunView:
        return self._view(user, submission, self._submissions.write(submission))

    def _view(self, user: User, submission: Submission, written: Written) -> RunView:
        """A run that was just written need not be read for that."""
        return self.run(user, written.run_id) if written.again else submission.view(written.at)

    def runs(self, user: User, cursor: str | None = None, limit: int = 100) -> Page[RunView]:
        """Newest first; an admin sees everybody's."""
        size = _page_size(limit)
        with self._database.read() as connection:
            rows = list_runs(connection, None if user.admin else user.name, _cursor(cursor), size)
            counts = counts_of(connection, [row.seq for row in rows])
        items = [run_view(row, counts[row.seq]) for row in rows]
        return Page(items=items, next_cursor=str(rows[-1].seq) if len(rows) == size else None)

    def run(self, user: User, run_id: str) -> RunView:
        """One run with its counts."""
        with self._database.read() as connection:
            row = self._run_row(connection, user, run_id)
            counts = counts_of_steps(connection, row.seq)
            steps = [(step, counts.get(step.seq, {})) for step in steps_of_run(connection, row.seq)]
        total: Counter[TaskState] = Counter()
        for of_step in counts.values():
            total.update(of_step)
        return run_view(row, total, steps)

    def wait(self, user: User, run_id: str, seen_done: int, timeout_s: float) -> RunView:
        """The run as soon as it has ended or more than ``seen_done`` tasks are done, at the latest after
        ``timeout_s``.
        """
        moved = threading.Event()
        with self.waiting(user, run_id, seen_done, moved.set):
            view = self.run(user, run_id)
            if view.ended or view.done > seen_done:
                return view
            moved.wait(timeout_s)
        return self.run(user, run_id)

    def waiting(
        self, user: User, run_id: str, seen_done: int, tell: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Meanwhile ``tell`` is called once the run has ended or more than ``seen_done`` tasks are done: see
        ``WaitingRoom.waiting``.
        """
        with self._database.read() as connection:
            seq = self._run_row(connection, user, run_id).seq
        return self._waiting_room.waiting(seq, seen_done, tell)

    def cancel_run(self, user: User, run_id: str) -> RunView:
        """Cancels every task that has not ended."""
        with self._database.write() as connection:
            seq, why = self._run_row(connection, user, run_id).seq, f"Run canceled by {user.name}."
            more = True
            while more:  # between two statements the engine may have placed tasks, or put them back
                queued = cancel_queued(connection, seq, time.time(), why)
                placed = ids_in_states(connection, seq, (TaskState.INITIALIZING, TaskState.RUNNING))
                self._cancel(connection, placed, why)
                more = bool(queued or placed)
        self._wake()
        return self.run(user, run_id)

    def retry(self, user: User, run_id: str, client_key: str | None = None) -> RunView:
        """A new run of the tasks that failed or were canceled, and of those that waited for them."""
        with self._database.read() as connection:
            row = self._run_row(connection, user, run_id)
            if row.ended_at is None:
                raise Conflict(f"Run {run_id} has not ended yet.", hint="Wait for it, or cancel it first.")
            for step in steps_of_run(connection, row.seq):
                site_named(self._sites, step.site)  # what it reads lies there
            accepted = accept_retry(connection, self._steps, row, new_id("r"))
        key = self._submissions.checked_key(client_key)
        return self._write(user, Submission(accepted, user.name, row.name, key, f"retry of {run_id}"[:64], run_id))

    def results(self, user: User, run_id: str) -> Iterator[dict[str, Any]]:
        """One dict per task but those that gather, in order: index, task, name, state, params, result, files,
        reason.
        """
        with self._database.read() as connection:
            rows = steps_of_run(connection, self._run_row(connection, user, run_id).seq)
            steps = [row.seq for row in rows if not self._steps.of(connection, row.seq).is_gathering]
        return iter_results(self._database, steps)

    def gathered(self, user: User, run_id: str) -> dict[str, Path]:
        """The outputs of the run's gathering tasks, by name, once they are complete; what a pattern matched is
        NAME/FILE. Where several steps gather, the last one's win.
        """
        found: dict[str, Path] = {}
        with self._database.read() as connection:
            row = self._run_row(connection, user, run_id)
            steps = [self._steps.of(connection, one.seq) for one in steps_of_run(connection, row.seq)]
            gathering = [step for step in steps if isinstance(step, AppStep) and step.is_gathering]
            ids = [row.seq * TASKS_PER_RUN + step.row.first for step in gathering]
            tasks = {task.id: task for task in tasks_with_files(connection, ids)}
        for step, task in zip(gathering, ids, strict=True):
            if tasks[task].state != TaskState.COMPLETE:
                continue
            site, folder = self._output_folder(step, task)
            paths = [str(file["path"]) for file in json.loads(tasks[task].files or "[]")]
            for name, path in step.program.gathered(run_id, step.row.public_id(task), paths).items():
                with suppress(FileNotFoundError):  # an optional one
                    found[name] = site.fetch_output(f"{folder}/{path}", self._downloads, folders=True)
        return found

    def usage(self, user: User, run_id: str) -> UsageView:
        """What a run used, and what was paid for it."""
        with self._database.read() as connection:
            return sum_usage(connection, self._run_row(connection, user, run_id).seq, time.time())

    def account(self, user: User, by: Collection[AccountBy] = tuple(AccountBy), since: float | None = None) -> Account:
        """What allocations paid for a user; an admin is told everybody's part, and what was idle."""
        with self._database.read() as connection:
            rows = iter_shares(connection, user=None if user.admin else user.name, since=since)
            return account(rows, by, time.time(), since=since, whole=user.admin)

    # --- tasks ------------------------------------------------------------

    def tasks(
        self,
        user: User,
        run_id: str,
        states: list[TaskState] | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[TaskView]:
        """Tasks of a run in order."""
        size = _page_size(limit)
        with self._database.read() as connection:
            row = self._run_row(connection, user, run_id)
            rows = page_of_tasks(connection, row.seq, states, _cursor(cursor), size)
            waits = (
                waits_for_images(wants_of(connection, [row.seq])[row.seq])
                if any(task.state == TaskState.QUEUED for task in rows)
                else None
            )
            data = waits_for_data(
                awaited_data(
                    connection, [task.id for task in rows if task.state == TaskState.QUEUED and task.waiting_on]
                )
            )
            steps = {seq: self._steps.of(connection, seq) for seq in {task.step_seq for task in rows}}
        views = [
            self._explained(task_view(task, steps[task.step_seq], data.get(task.id) or waits), steps[task.step_seq])
            for task in rows
        ]
        return Page(items=views, next_cursor=str(rows[-1].id) if len(rows) == size else None)

    def task(self, user: User, task_id: str) -> TaskDetail:
        """All that is known of a task."""
        with self._database.read() as connection:
            run_row, row = self._task_row(connection, user, task_id)
            step = self._steps.of(connection, row.step_seq)
            attempts = [attempt_view(attempt) for attempt in attempts_of(connection, row.id)]
            events = [event_view(event) for event in events_of(connection, row.id)]
            allocation = get_allocation(connection, row.allocation_seq) if row.state == TaskState.INITIALIZING else None
            is_queued = row.state == TaskState.QUEUED
            waits = waits_for_images(wants_of(connection, [run_row.seq])[run_row.seq]) if is_queued else None
            if is_queued and row.waiting_on:
                waits = waits_for_data(awaited_data(connection, [row.id])).get(row.id)
            is_in_line = is_queued and waits is None
            if is_in_line:
                waits = waits_for_others(connection, run_row, row)
            data = [data_view(one) for one in data_of_task(connection, row.id)]
            reuse = reuse_view(connection, self._steps, row, step)
        if is_in_line and not row.waiting_on and step.row.site in self._sites:
            waits = waits_for_size(self._sites[step.row.site], step, row) or waits
        document = tes_document(row, step, run_row.created_at, attempts)
        view = task_view(row, step, waits)
        if allocation is not None and allocation.started_at is None:
            view = view.model_copy(update={"reason": waiting_reason(allocation)})
        view = self._explained(view, step)
        more: dict[str, Any] = {"attempts": attempts, "events": events, "data": data, "reuse": reuse}
        return TaskDetail(**view.model_dump(), document=document, **more)

    def log(
        self, user: User, task_id: str, stream: str, offset: int = 0, limit: int = 1 << 20, attempt: int | None = None
    ) -> LogPart:
        """Bytes from ``offset`` of 'stdout' or 'stderr' of the last attempt (or of ``attempt``)."""
        with self._database.read() as connection:
            _, row = self._task_row(connection, user, task_id)
            row = source_of(connection, row)
        return read_log(self._database, self._sites, row, stream, offset, limit, attempt)

    def cancel_task(self, user: User, task_id: str) -> TaskView:
        """Cancels one task; one that has ended stays as it is."""
        with self._database.write() as connection:
            _, row = self._task_row(connection, user, task_id)
            self._cancel(connection, [row.id], f"Canceled by {user.name}.")
        self._wake()
        with self._database.read() as connection:
            after = get_task(connection, row.id)
            step = self._steps.of(connection, row.step_seq)
        return task_view(after, step)

    def output_path(self, user: User, task_id: str, path: str) -> Path:
        """Where an output of a task lies on this machine."""
        with self._database.read() as connection:
            _, row = self._task_row(connection, user, task_id)
            step = self._steps.of(connection, row.step_seq)
        path = kept_as(path)
        if why := folder_problem(path):
            raise InvalidRequest(f"The path '{path[:200]}' {why}.")
        site, kept = self._output_folder(step, row.id)
        try:
            found = site.fetch_output(f"{kept}/{path}", self._downloads)
            folder = (Path(kept) if site.transport.is_local else self._downloads).resolve()
            target = found.resolve()
            if target.is_relative_to(folder) and target.exists():
                return target
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
            pass
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
                raise
        raise NotFound(
            f"Task {task_id} has no output '{path[:200]}'.", hint=f"'packhorse show {task_id}' lists its outputs."
        )

    # --- the rest ------------------------------------------------------------

    def apps(self, _user: User) -> list[AppView]:
        """The apps that can be run by name."""
        return [
            AppView(name=m.name, version=m.version, title=m.title, description=m.description, manifest=m)
            for m in (app.manifest for app in self._catalog.all())
        ]

    def sites(self, _user: User) -> list[SiteView]:
        """The sites with their queues, those that do not answer included."""
        with self._database.read() as connection:
            live = {name: Counter(row.state for row in live_allocations(connection, name)) for name in self._sites}
        return [site_view(site, live[site.name]) for site in self._sites.values()]

    def images(self, _user: User) -> list[ImageView]:
        """Images at sites, and those on their way there, oldest first."""
        with self._database.read() as connection:
            return [image_view(row) for row in images_at(connection)]

    def doctor(self, site: str | None = None) -> list[Check]:
        """Whether everything that runs need is there; of one ``site`` by more than looks, with a real job."""
        if site is None:
            return examine(self._database, list(self._sites.values()))
        if site not in self._sites:
            raise NotFound(f"There is no site '{site[:60]}'.", hint="'packhorse sites' lists them.")
        return examine_site(self._sites[site], with_job=True)

    def _explained(self, view: TaskView, step: Step) -> TaskView:
        """With the reason why nothing moves, where a task's site was taken out of the configuration."""
        if view.state in TERMINAL or step.row.site in self._sites:
            return view
        return view.model_copy(
            update={"reason": f"{not_configured(step.row.site)} The task goes on when it is there again."}
        )

    def _output_folder(self, step: Step, task: int) -> tuple[Site, str]:
        """The site that has a task's outputs, and where."""
        site = site_named(self._sites, step.row.site)
        return site, site.output_folder(step.row.run_id, step.row.index(task))

    def _cancel(self, connection: sa.Connection, ids: Sequence[int], why: str) -> None:
        now = time.time()
        current = lock_tasks(connection, ids)
        ended = {"failure": FailureClass.CANCELED, "reason": why, "ended_at": now}
        moves = [
            (
                Move(task, TaskState.CANCELED, now, why, ended)
                if row.state is TaskState.QUEUED
                else Move(task, TaskState.CANCELING, now, why)
            )
            for task, row in current.items()
        ]
        apply_moves(connection, moves, current)

    def _run_row(self, connection: sa.Connection, user: User, run_id: str) -> Any:
        row = get_run(connection, run_id) if is_run_id(run_id) else None
        if row is None or not (user.admin or row.user == user.name):
            raise NotFound(f"There is no run '{run_id[:60]}'.", hint="'packhorse ps' lists your runs.")
        return row

    def _task_row(self, connection: sa.Connection, user: User, task_id: str) -> tuple[Any, Any]:
        run_id, index = parse_task_id(task_id)
        run_row = self._run_row(connection, user, run_id)
        row = get_task(connection, run_row.seq * TASKS_PER_RUN + index) if index < TASKS_PER_RUN else None
        if row is None:
            raise NotFound(f"Run {run_id} has no task {index}.", hint=f"'packhorse ps {run_id}' lists its tasks.")
        return run_row, row


def _page_size(limit: int) -> int:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"A page has 1 to {MAX_PAGE} items, not {limit}.")
    return limit


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(f"'{text[:60]}' is not a cursor.", hint="Use 'next_cursor' of the page before.")
    return int(text)
