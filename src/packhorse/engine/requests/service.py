"""What front doors may ask for, each for the user who asks.

The HTTP API and the embedded client are thin layers over this; each method asks ``domain.access`` whether it may.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from packhorse.domain.access import POLICY, Action
from packhorse.domain.accessconfig import LimitsConfig
from packhorse.domain.config import EstimatesConfig
from packhorse.domain.errors import Conflict, NotFound, PackhorseError
from packhorse.domain.ids import new_id
from packhorse.domain.run import SubmittedRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
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
)
from packhorse.engine.change import Wake, wake_nobody
from packhorse.engine.notifier import Notifier
from packhorse.engine.requests.access import run_row, task_row
from packhorse.engine.requests.accounting import account
from packhorse.engine.requests.cancel import cancel_all, cancel_tasks
from packhorse.engine.requests.documents import image_view, run_view, site_view, task_view
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.limits import Limits
from packhorse.engine.requests.outputfiles import OutputFiles
from packhorse.engine.requests.ownestimates import OwnEstimates
from packhorse.engine.requests.pages import cursor_of, page_size
from packhorse.engine.requests.runviews import run_with_steps
from packhorse.engine.requests.runwaiters import RunWaiters
from packhorse.engine.requests.submission import Submission, Written
from packhorse.engine.requests.submitting import Rows, Submissions
from packhorse.engine.requests.usage import sum_usage
from packhorse.engine.sealing import Seal
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.results import iter_results
from packhorse.sites.site import Site, site_named
from packhorse.staging.apps import AppCatalog
from packhorse.store.allocations import live_allocations
from packhorse.store.audit import note_change
from packhorse.store.database import Database
from packhorse.store.images import images_at
from packhorse.store.lookups import source_of
from packhorse.store.runs import counts_of, list_runs
from packhorse.store.shares import iter_shares
from packhorse.store.sharing import list_shared_runs
from packhorse.store.steps import steps_of_run
from packhorse.store.tasks import get_task, page_of_tasks

if TYPE_CHECKING:  # models that are slow to build, and most requests do without
    from packhorse.engine.requests.estimating import Estimating
    from packhorse.engine.requests.taskviews import TaskViews
    from packhorse.engine.requests.tes import TesTasks


class Service:
    """Sites, apps and a database, for whoever asks: ``as_user``.

    The attributes are for ``UserService``, which answers from them; nothing there asks who it is.
    """

    def __init__(
        self,
        database: Database,
        sites: Sequence[Site],
        catalog: AppCatalog,
        files: FileRules,
        wake: Wake = wake_nobody,
        notifier: Notifier | None = None,
        downloads: Path = Path("downloads"),
        estimates: EstimatesConfig | None = None,
        limits: LimitsConfig | None = None,
        seal: Seal | None = None,
    ) -> None:
        self.database = database
        self.sites = {site.name: site for site in sites}
        self.catalog = catalog
        self.steps = Steps()
        self.submissions = Submissions(database, sites, catalog, files, wake)
        self.limits = Limits(database, limits)
        self.seal = seal or Seal(downloads.parent / "seal.key")
        self.reach = files.reach
        self.wake = wake
        self.waiters = RunWaiters(database, notifier or Notifier())
        self._estimates = estimates or EstimatesConfig()
        self.output_files = OutputFiles(database, self.steps, self.sites, downloads)

    @cached_property
    def estimating(self) -> Estimating:
        """What runs and tasks are expected to need."""
        from packhorse.engine.requests.estimating import Estimating

        return Estimating(self.steps, self.sites, self._estimates)

    @cached_property
    def task_views(self) -> TaskViews:
        """Tasks as they are told of."""
        from packhorse.engine.requests.taskviews import TaskViews

        return TaskViews(self.database, self.steps, self.sites)

    def as_user(self, user: User) -> UserService:
        """What ``user`` may ask for."""
        return UserService(self, user)

    def why_not_ready(self) -> str | None:
        """Why nothing can be asked for now; None when it can."""
        return None if self.database.answers() else "its database does not answer"


class UserService(OwnEstimates):
    """What one user may ask for. Every method checks that this user may, and raises the refusals of
    ``domain.errors``: NotFound also for what is not theirs.
    """

    _service: Service

    def __init__(self, service: Service, user: User) -> None:
        super().__init__(service.database, user, service.seal, service.reach)
        self._service = service

    def body_bytes(self, most: int) -> int:
        """How large a body of this user may be, at most ``most``."""
        return self._service.limits.body_bytes(self._user, most)

    def _whose(self) -> str | None:
        """Whose runs are listed; None: everybody's. Raises NotAllowed."""
        POLICY.require(self._user, Action.LOOK)
        return None if POLICY.allows(self._user, Action.SEE_ALL) else self._user.name

    # --- runs ------------------------------------------------------------

    def submit(self, request: SubmittedRun, rows: Rows | None = None) -> RunView:
        """Accepts a run, or refuses it with all that is wrong. ``rows`` (streamed) stands in for ``AppRun.over``."""
        POLICY.require(self._user, Action.SUBMIT)
        self._service.limits.submission(self._user)
        return self._write(self._service.submissions.check(self._user, request, rows))

    def submit_many(self, requests: Sequence[SubmittedRun | PackhorseError]) -> list[RunView | PackhorseError]:
        """By position: the run, or why it was refused; each by itself. What is a refusal already stays one."""
        POLICY.require(self._user, Action.SUBMIT)
        self._service.limits.submission(self._user)
        catalog = self._service.catalog.for_one_request()
        checked = [self._checked(request, catalog) for request in requests]
        written = self._service.submissions.write_many(checked)
        return [self._answer(one, done) for one, done in zip(checked, written, strict=True)]

    def _checked(self, request: SubmittedRun | PackhorseError, catalog: AppCatalog) -> Submission | PackhorseError:
        if isinstance(request, PackhorseError):
            return request
        try:
            submission = self._service.submissions.check(self._user, request, catalog=catalog)
            self._service.limits.tasks(self._user, submission.tasks)
            return submission
        except PackhorseError as error:
            return error

    def _answer(
        self, submission: Submission | PackhorseError, written: Written | PackhorseError
    ) -> RunView | PackhorseError:
        if isinstance(submission, PackhorseError):
            return submission
        return written if isinstance(written, PackhorseError) else self._view(submission, written)

    def _write(self, submission: Submission) -> RunView:
        self._service.limits.tasks(self._user, submission.tasks)
        return self._view(submission, self._service.submissions.write(submission))

    def _view(self, submission: Submission, written: Written) -> RunView:
        """A run that was just written need not be read for that."""
        return self.run(written.run_id) if written.again else submission.view(written.at)

    def runs(self, cursor: str | None = None, limit: int = 100, *, shared: bool = False) -> Page[RunView]:
        """Newest first; an admin sees everybody's. ``shared``: those that others share with this user."""
        size, before, whose = page_size(limit), cursor_of(cursor), self._whose()
        with self._database.read() as connection:
            if shared:
                rows = list_shared_runs(connection, self._user.grantees, before, size)
            else:
                rows = list_runs(connection, whose, before, size)
            counts = counts_of(connection, [row.seq for row in rows])
        items = [run_view(row, counts[row.seq]) for row in rows]
        return Page(items=items, next_cursor=str(rows[-1].seq) if len(rows) == size else None)

    def run(self, run_id: str) -> RunView:
        """One run with its counts."""
        with self._database.read() as connection:
            return run_with_steps(connection, run_row(connection, self._user, run_id))

    def wait(self, run_id: str, seen_done: int, timeout_s: float) -> RunView:
        """The run as soon as it has ended or more than ``seen_done`` tasks are done, at the latest after
        ``timeout_s``.
        """
        moved = threading.Event()
        with self.waiting(run_id, seen_done, moved.set):
            view = self.run(run_id)
            if view.ended or view.done > seen_done:
                return view
            moved.wait(timeout_s)
        return self.run(run_id)

    def waiting(self, run_id: str, seen_done: int, tell: Callable[[], None]) -> AbstractContextManager[None]:
        """Meanwhile ``tell`` is called once the run has ended or more than ``seen_done`` tasks are done: see
        ``RunWaiters.waiting``.
        """
        with self._database.read() as connection:
            seq = run_row(connection, self._user, run_id).seq
        return self._service.waiters.waiting(seq, seen_done, tell)

    def cancel_run(self, run_id: str) -> RunView:
        """Cancels every task that has not ended."""
        with self._database.write() as connection:
            seq = run_row(connection, self._user, run_id, Action.CHANGE).seq
            cancel_all(connection, seq, f"Run canceled by {self._user.name}.")
            note_change(connection, self._user.name, "run canceled", run_id)
        self._service.wake()
        return self.run(run_id)

    def retry(self, run_id: str, client_key: str | None = None) -> RunView:
        """A new run of the tasks that failed or were canceled, and of those that waited for them."""
        from packhorse.engine.requests.again import accept_retry

        with self._database.read() as connection:
            row = run_row(connection, self._user, run_id, Action.CHANGE)
            if row.ended_at is None:
                raise Conflict(f"Run {run_id} has not ended yet.", hint="Wait for it, or cancel it first.")
            for step in steps_of_run(connection, row.seq):
                site_named(self._service.sites, step.site)  # what it reads lies there
            accepted = accept_retry(connection, self._service.steps, row, new_id("r"), self._service.sites)
        key = self._service.submissions.checked_key(client_key)
        what = f"retry of {run_id}"[:64]
        return self._write(Submission(accepted, self._user.name, row.name, key, what, run_id))

    def results(self, run_id: str) -> Iterator[dict[str, Any]]:
        """One dict per task but an app's own that gathers, in order: index, task, name, step, state, params, result,
        files, reason.
        """
        with self._database.read() as connection:
            rows = steps_of_run(connection, run_row(connection, self._user, run_id).seq)
            steps = [row.seq for row in rows if self._service.steps.of(connection, row.seq).spec.kind != "gather"]
        return iter_results(self._database, steps)

    def gathered(self, run_id: str) -> dict[str, Path]:
        """The outputs of the run's gathering tasks, and of its last ones, by name, once they are complete; what a
        pattern matched is NAME/FILE. Where several have one of a name, the last one's wins.
        """
        with self._database.read() as connection:
            row = run_row(connection, self._user, run_id)
        return self._service.output_files.gathered(row)

    def usage(self, run_id: str) -> UsageView:
        """What a run used, and what was paid for it."""
        with self._database.read() as connection:
            return sum_usage(connection, run_row(connection, self._user, run_id).seq, time.time())

    def report(self, run_id: str) -> bytes:
        """A run as one HTML page that needs nothing else."""
        from packhorse.engine.requests.reporting import facts_of  # most of what is asked for needs none of it
        from packhorse.report.page import render_page

        with self._database.read() as connection:
            facts = facts_of(connection, self._service.steps, run_row(connection, self._user, run_id), time.time())
        return render_page(facts).encode()

    def crate(self, run_id: str, target: IO[bytes]) -> None:
        """Writes a run as an RO-Crate, a zip archive, to ``target``."""
        from packhorse.engine.requests.crating import write_crate

        with self._database.read() as connection:
            row = run_row(connection, self._user, run_id)
        write_crate(self._database, self._service.steps, row, self.output_path, target, time.time())

    # --- tasks ------------------------------------------------------------

    def tasks(
        self, run_id: str, states: list[TaskState] | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[TaskView]:
        """Tasks of a run in order."""
        size = page_size(limit)
        with self._database.read() as connection:
            row = run_row(connection, self._user, run_id)
            rows = page_of_tasks(connection, row.seq, states, cursor_of(cursor), size)
            items = self._service.task_views.page(connection, row, rows)
        return Page(items=items, next_cursor=str(rows[-1].id) if len(rows) == size else None)

    def task(self, task_id: str) -> TaskDetail:
        """All that is known of a task, and why it waits."""
        return self._service.task_views.detail(self._user, task_id)

    def log(
        self, task_id: str, stream: str, offset: int = 0, attempt: int | None = None, *, limit: int = 1 << 20
    ) -> LogPart:
        """Bytes from ``offset`` of 'stdout' or 'stderr' of the last attempt (or of ``attempt``)."""
        from packhorse.engine.requests.taskout import read_log

        with self._database.read() as connection:
            _, row = task_row(connection, self._user, task_id)
            row = source_of(connection, row)
        return read_log(self._database, self._service.sites, row, stream, offset, limit, attempt)

    def cancel_task(self, task_id: str) -> TaskView:
        """Cancels one task; one that has ended stays as it is."""
        with self._database.write() as connection:
            _, row = task_row(connection, self._user, task_id, Action.CHANGE)
            cancel_tasks(connection, [row.id], f"Canceled by {self._user.name}.")
            note_change(connection, self._user.name, "task canceled", task_id)
        self._service.wake()
        with self._database.read() as connection:
            after = get_task(connection, row.id)
            step = self._service.steps.of(connection, row.step_seq)
        return task_view(after, step)

    def output_path(self, task_id: str, path: str) -> Path:
        """Where an output of a task lies on this machine."""
        with self._database.read() as connection:
            _, row = task_row(connection, self._user, task_id)
        return self._service.output_files.path_of(row, path)

    @property
    def tes(self) -> TesTasks:
        """The same tasks as GA4GH TES has them."""
        from packhorse.engine.requests.tes import TesTasks  # the command line does without

        service, files = self._service, self._service.submissions.files_for(self._user)
        return TesTasks(self._user, self._database, service.steps, service.sites, files, self.submit_many)

    # --- the rest ------------------------------------------------------------

    def account(self, by: Collection[AccountBy] = tuple(AccountBy), since: float | None = None) -> Account:
        """What allocations paid for a user; an admin is told everybody's part, and what was idle."""
        with self._database.read() as connection:
            whose = self._whose()
            rows = iter_shares(connection, user=whose, since=since)
            return account(rows, by, time.time(), since=since, whole=whose is None)

    def apps(self) -> list[AppView]:
        """The apps that can be run by name."""
        POLICY.require(self._user, Action.LOOK)
        return [
            AppView(name=m.name, version=m.version, title=m.title, description=m.description, manifest=m)
            for m in (app.manifest for app in self._service.catalog.all())
        ]

    def sites(self) -> list[SiteView]:
        """The sites with their queues, those that do not answer included."""
        POLICY.require(self._user, Action.LOOK)
        sites = self._service.sites
        with self._database.read() as connection:
            live = {name: Counter(row.state for row in live_allocations(connection, name)) for name in sites}
        return [site_view(site, live[site.name]) for site in sites.values()]

    def images(self) -> list[ImageView]:
        """Images at sites, and those on their way there, oldest first."""
        POLICY.require(self._user, Action.LOOK)
        with self._database.read() as connection:
            return [image_view(row) for row in images_at(connection)]

    def doctor(self, site: str | None = None) -> list[Check]:
        """Whether everything that runs need is there; of one ``site`` by more than looks, with a real job. For admins:
        it names folders and versions of the server.
        """
        from packhorse.engine.requests.doctor import examine, examine_site

        POLICY.require(self._user, Action.EXAMINE)
        sites = self._service.sites
        if site is None:
            return examine(self._database, list(sites.values()))
        if site not in sites:
            raise NotFound(f"There is no site '{site[:60]}'.", hint="'packhorse sites' lists them.")
        return examine_site(sites[site], with_job=True)
