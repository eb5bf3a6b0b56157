"""What front doors may ask for. The HTTP API and the embedded client are thin layers over this; permissions are checked here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packhorse.domain.run import AppRun, TaskRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import AppView, Check, LogPart, Page, RunView, TaskDetail, TaskView, UsageView, User

Rows = Iterable[Mapping[str, Any]]


class Service:
    """Every method checks that ``user`` may do this, and raises the refusals of ``domain.errors`` (NotFound also for what is not theirs)."""

    def submit(self, user: User, request: AppRun | TaskRun, rows: Rows | None = None) -> RunView:
        """Accepts a run, or refuses it with all that is wrong. ``rows`` (streamed) stands in for ``AppRun.over``."""
        raise NotImplementedError

    def runs(self, user: User, cursor: str | None = None, limit: int = 100) -> Page[RunView]:
        """Newest first; an admin sees everybody's."""
        raise NotImplementedError

    def run(self, user: User, run_id: str) -> RunView:
        raise NotImplementedError

    def wait(self, user: User, run_id: str, seen_done: int, timeout_s: float) -> RunView:
        """The run as soon as it has ended or more than ``seen_done`` tasks are done, at the latest after ``timeout_s``."""
        raise NotImplementedError

    def tasks(self, user: User, run_id: str, states: list[TaskState] | None = None, cursor: str | None = None, limit: int = 100) -> Page[TaskView]:
        raise NotImplementedError

    def task(self, user: User, task_id: str) -> TaskDetail:
        raise NotImplementedError

    def log(self, user: User, task_id: str, stream: str, offset: int = 0, limit: int = 1 << 20, attempt: int | None = None) -> LogPart:
        """Bytes from ``offset`` of 'stdout' or 'stderr' of the last attempt (or of ``attempt``)."""
        raise NotImplementedError

    def cancel_run(self, user: User, run_id: str) -> RunView:
        raise NotImplementedError

    def cancel_task(self, user: User, task_id: str) -> TaskView:
        raise NotImplementedError

    def retry(self, user: User, run_id: str, client_key: str | None = None) -> RunView:
        """A new run of the tasks that failed or were canceled, and of those that waited for them."""
        raise NotImplementedError

    def results(self, user: User, run_id: str) -> Iterator[dict[str, Any]]:
        """One dict per task, in order: index, task, state, params, result, files, reason."""
        raise NotImplementedError

    def output_path(self, user: User, task_id: str, path: str) -> Path:
        """Where an output of a task lies on this machine."""
        raise NotImplementedError

    def gathered(self, user: User, run_id: str) -> dict[str, Path]:
        """The outputs of the run's gathering task, by the names in the manifest."""
        raise NotImplementedError

    def usage(self, user: User, run_id: str | None = None) -> UsageView:
        raise NotImplementedError

    def apps(self, user: User) -> list[AppView]:
        raise NotImplementedError

    def doctor(self) -> list[Check]:
        raise NotImplementedError
