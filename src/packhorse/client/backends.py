"""Where a client's requests go: an engine room in this process, or a server over HTTP. Both speak the same methods."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote

from packhorse.domain.config import DataConfig, ImagesConfig, SiteConfig, load_config
from packhorse.domain.errors import (
    Conflict,
    InvalidManifest,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PackhorseError,
    Problem,
    TooLarge,
    Unavailable,
)
from packhorse.domain.ids import new_id
from packhorse.domain.run import AppRun, TaskRun
from packhorse.domain.states import TaskState
from packhorse.domain.text import kept_json, value_problem
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

Rows = Iterable[Mapping[str, Any]]

_TIMEOUT_S = 60.0
_SUBMIT_S = 900.0  # a million tasks are written in one transaction
_AGAIN_S = (1.0, 4.0, 15.0)  # pauses before a submission whose answer was lost is made again
_WAIT_S = 20.0  # of one long poll
_DOCTOR_S = 200.0  # it may wait for a job
_ERRORS = {
    kind.code: kind for kind in (Conflict, InvalidManifest, InvalidRequest, NotAllowed, NotAuthenticated, NotFound, TooLarge, Unavailable)
}


class Backend(Protocol):
    """What the client needs; see ``engine.requests.service.Service`` for what each method does."""

    def submit(self, request: AppRun | TaskRun, rows: Rows | None = None) -> RunView: ...
    def runs(self, cursor: str | None = None, limit: int = 100) -> Page[RunView]: ...
    def run(self, run_id: str) -> RunView: ...
    def wait(self, run_id: str, seen_done: int, timeout_s: float) -> RunView: ...
    def tasks(self, run_id: str, states: list[TaskState] | None, cursor: str | None, limit: int) -> Page[TaskView]: ...
    def task(self, task_id: str) -> TaskDetail: ...
    def log(self, task_id: str, stream: str, offset: int, attempt: int | None) -> LogPart: ...
    def cancel_run(self, run_id: str) -> RunView: ...
    def cancel_task(self, task_id: str) -> TaskView: ...
    def retry(self, run_id: str, client_key: str | None) -> RunView: ...
    def results(self, run_id: str) -> Iterator[dict[str, Any]]: ...
    def gathered(self, run_id: str) -> dict[str, Path]: ...
    def usage(self, run_id: str) -> UsageView: ...
    def account(self, by: Collection[AccountBy] = tuple(AccountBy), since: float | None = None) -> Account: ...
    def apps(self) -> list[AppView]: ...
    def sites(self) -> list[SiteView]: ...
    def images(self) -> list[ImageView]: ...
    def doctor(self, site: str | None = None) -> list[Check]: ...
    def working(self) -> AbstractContextManager[None]:
        """Makes sure that an engine works meanwhile."""
        ...

    def close(self) -> None: ...


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
        from packhorse.engine.embedded import Embedded  # slow to import; a client of a server does without
        from packhorse.logs import quiet_unless_configured

        quiet_unless_configured()
        self._embedded = Embedded(
            home, app_folders=list(app_folders), database_url=database_url, site_configs=site_configs, images=images, data=data
        )
        self._service, self._user = self._embedded.service, self._embedded.user

    def submit(self, request: AppRun | TaskRun, rows: Rows | None = None) -> RunView:
        return self._service.submit(self._user, request, rows)

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


class _AnswerLost(Unavailable):
    """The server was reached, and may have done what was asked."""


class HttpBackend:
    """A server's native REST API."""

    def __init__(self, url: str, token: str | None) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._http = httpx.Client(base_url=f"{self._url}/api/v1", headers=headers, timeout=_TIMEOUT_S)

    def submit(self, request: AppRun | TaskRun, rows: Rows | None = None) -> RunView:
        if rows is None or not isinstance(request, AppRun):
            body = request.model_dump(mode="json", exclude_defaults=True)
            return self._submit("/runs", request.client_key, content=_json_of(body, "The run").encode())
        # a large table is streamed from a file, so that neither side holds it in memory
        with tempfile.TemporaryFile() as table:
            for number, row in enumerate(rows, start=1):
                table.write(_json_of(row, f"Row {number}").encode() + b"\n")
            fields = request.model_dump(mode="json", exclude_defaults=True, exclude={"over", "client_key"})
            parameters = {name: value if isinstance(value, str) else _json_of(value, name) for name, value in fields.items()}
            return self._submit("/runs/table", request.client_key, table, params=parameters)

    def runs(self, cursor: str | None = None, limit: int = 100) -> Page[RunView]:
        return Page[RunView].model_validate(self._json("GET", "/runs", params=_given(cursor=cursor, limit=limit)))

    def run(self, run_id: str) -> RunView:
        return RunView.model_validate(self._json("GET", f"/runs/{_part(run_id)}"))

    def wait(self, run_id: str, seen_done: int, timeout_s: float) -> RunView:
        parameters = {"seen_done": seen_done, "timeout_s": min(timeout_s, _WAIT_S)}
        return RunView.model_validate(self._json("GET", f"/runs/{_part(run_id)}/wait", params=parameters))

    def tasks(self, run_id: str, states: list[TaskState] | None, cursor: str | None, limit: int) -> Page[TaskView]:
        parameters = _given(state=[state.value for state in states] if states else None, cursor=cursor, limit=limit)
        return Page[TaskView].model_validate(self._json("GET", f"/runs/{_part(run_id)}/tasks", params=parameters))

    def task(self, task_id: str) -> TaskDetail:
        return TaskDetail.model_validate(self._json("GET", f"/tasks/{_part(task_id)}"))

    def log(self, task_id: str, stream: str, offset: int, attempt: int | None) -> LogPart:
        response = self._request("GET", f"/tasks/{_part(task_id)}/logs/{_part(stream)}", params=_given(offset=offset, attempt=attempt))
        return LogPart(response.content, int(response.headers["X-Next-Offset"]), response.headers["X-Log-Ended"] == "true")

    def cancel_run(self, run_id: str) -> RunView:
        return RunView.model_validate(self._json("POST", f"/runs/{_part(run_id)}/cancel"))

    def cancel_task(self, task_id: str) -> TaskView:
        return TaskView.model_validate(self._json("POST", f"/tasks/{_part(task_id)}/cancel"))

    def retry(self, run_id: str, client_key: str | None) -> RunView:
        return self._submit(f"/runs/{_part(run_id)}/retry", client_key)

    def results(self, run_id: str) -> Iterator[dict[str, Any]]:
        with self._streamed(f"/runs/{_part(run_id)}/results") as response:
            for line in response.iter_lines():
                if line:
                    yield json.loads(line)

    def gathered(self, run_id: str) -> dict[str, Path]:
        """Downloads the outputs of the gathering task to below the home folder, which nobody else can write."""
        folder = load_config().home_folder().absolute() / "downloads" / run_id
        found: dict[str, Path] = {}
        for file in self._json("GET", f"/runs/{_part(run_id)}/files"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            target = folder / Path(file["filename"]).name
            if target in found.values():  # of another folder
                target = folder / f"{len(found)}-{target.name}"
            self._download(f"/runs/{_part(run_id)}/files/{_part(file['name'])}", target)
            found[file["name"]] = target
        return found

    def usage(self, run_id: str) -> UsageView:
        return UsageView.model_validate(self._json("GET", f"/runs/{_part(run_id)}/usage"))

    def account(self, by: Collection[AccountBy] = tuple(AccountBy), since: float | None = None) -> Account:
        return Account.model_validate(self._json("GET", "/usage", params=_given(by=[one.value for one in by], since=since)))

    def apps(self) -> list[AppView]:
        return [AppView.model_validate(app) for app in self._json("GET", "/apps")]

    def images(self) -> list[ImageView]:
        return [ImageView.model_validate(image) for image in self._json("GET", "/images")]

    def sites(self) -> list[SiteView]:
        return [SiteView.model_validate(site) for site in self._json("GET", "/sites")]

    def doctor(self, site: str | None = None) -> list[Check]:
        checks = self._json("GET", "/doctor", params=_given(site=site), timeout=_DOCTOR_S)
        return [Check.model_validate(check) for check in checks]

    @contextmanager
    def working(self) -> Iterator[None]:
        yield  # the server's engine works

    def close(self) -> None:
        self._http.close()

    def _submit(self, path: str, client_key: str | None, table: IO[bytes] | None = None, **options: Any) -> RunView:
        """Submits under a key, and again when the answer was lost on the way: the same key is the same run."""
        headers = {"Idempotency-Key": client_key or new_id("k")}
        if "content" in options or table is not None:
            headers["Content-Type"] = "application/json" if table is None else "application/x-ndjson"
        passing: type[Unavailable] = _AnswerLost  # a server that was never reached is not waited for
        pauses_s = list(_AGAIN_S)
        while True:
            if table is not None:
                table.seek(0)
                options["content"] = table
            try:
                return RunView.model_validate(self._json("POST", path, headers=headers, timeout=_SUBMIT_S, **options))
            except passing:
                if not pauses_s:
                    raise
            passing = Unavailable
            time.sleep(pauses_s.pop(0))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            kind = Unavailable if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else _AnswerLost
            hint = "Is it running, and is PACKHORSE_URL right?"
            raise kind(f"The server at {self._url} does not answer: {str(error).rstrip('.')}.", hint=hint) from None

    @contextmanager
    def _streamed(self, path: str) -> Iterator[Any]:
        with self._translated(), self._http.stream("GET", path) as response:
            if response.is_error:
                response.read()
                raise _refusal(response)
            yield response

    def _download(self, path: str, target: Path) -> None:
        with self._streamed(path) as response, target.open("wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        with self._translated():
            response = self._http.request(method, path, **options)
        if response.is_error:
            raise _refusal(response)
        return response

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._request(method, path, **options).json()


def _refusal(response: Any) -> PackhorseError:
    """The server's refusal as the exception that it was there."""
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"The server answered {response.status_code} without a reason.", hint="Is PACKHORSE_URL a Packhorse server?")
    problems = [Problem(problem["where"], problem["what"], problem["hint"]) for problem in error.get("problems", [])]
    return _ERRORS.get(error["code"], PackhorseError)(error["message"], hint=error.get("hint", ""), problems=problems)


def _json_of(value: Any, which: str) -> str:
    """As a server of ours reads it, which takes names of files as they are; refused where JSON has no such value."""
    try:
        return kept_json(value)
    except (ValueError, TypeError):
        raise InvalidRequest(f"{which} cannot be sent: {value_problem(value) or 'it is no JSON'}.") from None


def _part(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
