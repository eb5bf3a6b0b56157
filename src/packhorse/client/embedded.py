"""A client's requests, answered by an engine room in this process.

Slow to import: a client of a server does without.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from packhorse.client.backends import Rows
from packhorse.domain.config import DataConfig, ImagesConfig, SiteConfig
from packhorse.domain.errors import PackhorseError
from packhorse.domain.run import SubmittedRun
from packhorse.domain.states import TaskState
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
from packhorse.engine.embedded import Embedded


class EmbeddedBackend:
    """Everything in this process, on one folder."""

    def __init__(
        self,
        home: Path,
        app_folders: Iterable[Path] = (),
        database_url: str | None = None,
        site_configs: Mapping[str, SiteConfig] | None = None,
        images: ImagesConfig | None = None,
        data: DataConfig | None = None,
    ) -> None:
        self._embedded = Embedded(
            home,
            app_folders=list(app_folders),
            database_url=database_url,
            site_configs=site_configs,
            images=images,
            data=data,
        )
        self._service, self._user = self._embedded.service, self._embedded.user

    def submit(self, request: SubmittedRun, rows: Rows | None = None) -> RunView:
        return self._service.submit(self._user, request, rows)

    def submit_many(self, requests: Sequence[SubmittedRun]) -> list[RunView | PackhorseError]:
        return self._service.submit_many(self._user, requests)

    def runs(self, cursor: str | None = None, limit: int = 100) -> Page[RunView]:
        return self._service.runs(self._user, cursor, limit)

    def run(self, run_id: str) -> RunView:
        return self._service.run(self._user, run_id)

    def wait(self, run_id: str, seen_done: int, timeout_s: float) -> RunView:
        return self._service.wait(self._user, run_id, seen_done, timeout_s)

    def tasks(self, run_id: str, states: list[TaskState] | None, cursor: str | None, limit: int) -> Page[TaskView]:
        return self._service.tasks(self._user, run_id, states, cursor, limit)

    def task(self, task_id: str) -> TaskDetail:
        return self._service.task(self._user, task_id)

    def log(self, task_id: str, stream: str, offset: int, attempt: int | None) -> LogPart:
        return self._service.log(self._user, task_id, stream, offset, attempt=attempt)

    def cancel_run(self, run_id: str) -> RunView:
        return self._service.cancel_run(self._user, run_id)

    def cancel_task(self, task_id: str) -> TaskView:
        return self._service.cancel_task(self._user, task_id)

    def retry(self, run_id: str, client_key: str | None) -> RunView:
        return self._service.retry(self._user, run_id, client_key)

    def results(self, run_id: str) -> Iterator[dict[str, Any]]:
        return self._service.results(self._user, run_id)

    def gathered(self, run_id: str) -> dict[str, Path]:
        return self._service.gathered(self._user, run_id)

    def usage(self, run_id: str) -> UsageView:
        return self._service.usage(self._user, run_id)

    def report(self, run_id: str) -> bytes:
        return self._service.report(self._user, run_id).encode()

    def crate(self, run_id: str, target: IO[bytes]) -> None:
        self._service.crate(self._user, run_id, target)

    def account(self, by: Collection[AccountBy] = tuple(AccountBy), since: float | None = None) -> Account:
        return self._service.account(self._user, by, since)

    def apps(self) -> list[AppView]:
        return self._service.apps(self._user)

    def sites(self) -> list[SiteView]:
        return self._service.sites(self._user)

    def images(self) -> list[ImageView]:
        return self._service.images(self._user)

    def doctor(self, site: str | None = None) -> list[Check]:
        return self._service.doctor(site)

    @contextmanager
    def working(self) -> Iterator[None]:
        with self._embedded.run_engine():
            yield

    def close(self) -> None:
        self._embedded.close()
