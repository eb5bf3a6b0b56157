"""A client's requests, answered by a server over HTTP."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from packhorse.client.answers import other_server, refusal, refusal_of, server_url
from packhorse.client.backend import Rows
from packhorse.client.own import HttpSecrets, HttpShares
from packhorse.domain.errors import InvalidRequest, PackhorseError, Unavailable
from packhorse.domain.ids import new_id
from packhorse.domain.ourselves import make_private_folder
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

if TYPE_CHECKING:  # models that are slow to build, and most commands do without
    from packhorse.domain.expectations import RunExpectation, TaskEstimate
    from packhorse.domain.history import HistoryRow
    from packhorse.domain.run import SubmittedRun
    from packhorse.http.errors import NotReached

T = TypeVar("T")

_TIMEOUT_S = 60.0
_RUNS_AT_ONCE = 5000  # in one request
_BATCH_BYTES = 16_000_000
_SUBMIT_S = 900.0  # a million tasks are written in one transaction
_AGAIN_S = (1.0, 4.0, 15.0)  # pauses before a submission whose answer was lost is made again
_WAIT_S = 20.0  # of one long poll
_DOCTOR_S = 200.0  # it may wait for a job
_REPORT_S = 300.0  # a million tasks are looked at
_PATIENCE_S = 30.0  # a server that says Retry-After is waited for so long
_MAX_ANSWER = 256 << 20  # bytes
_OUR_PAGE = b'content="Packhorse '
_OWN_HINT = ("proxy", "cut", "certificate", "tls", "garbled")  # faults whose hint says more than ours


class _AnswerLost(Unavailable):
    """The server was reached, and may have done what was asked."""


class HttpBackend:
    """A server's native REST API."""

    def __init__(self, url: str, token: str | None) -> None:
        from packhorse.http.client import Http, only_at  # slow to import

        self._url = server_url(url)
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise InvalidRequest(
                "The token holds characters that no token has.", hint="It is one line; check where it was taken from."
            )
        self._token = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = Http(headers={"Accept-Encoding": "gzip, deflate"}, check=only_at(self._url))

    def submit(self, request: SubmittedRun, rows: Rows | None = None) -> RunView:
        from packhorse.domain.run import AppRun, PipelineRun

        if rows is not None and isinstance(request, PipelineRun):
            request = request.model_copy(update={"over": list(rows)})
        if rows is None or not isinstance(request, AppRun):
            body = request.model_dump(mode="json", exclude_defaults=True)
            headers = {"Content-Type": "application/json"}
            return self._submit("/runs", request.client_key, headers, content=_json_of(body, "The run").encode())
        # a large table is streamed from a file, so that neither side holds it in memory
        with tempfile.TemporaryFile() as table:
            for number, row in enumerate(rows, start=1):
                table.write(_json_of(row, f"Row {number}").encode() + b"\n")
            fields = request.model_dump(mode="json", exclude_defaults=True, exclude={"over", "client_key"})
            parameters = {
                name: value if isinstance(value, str) else _json_of(value, name) for name, value in fields.items()
            }
            headers = {"Content-Type": "application/x-ndjson", "Content-Length": str(table.tell())}
            return self._submit(
                "/runs/table", request.client_key, headers, params=parameters, content=_FromTheStart(table)
            )

    def submit_many(self, requests: Sequence[SubmittedRun]) -> list[RunView | PackhorseError]:
        answers: list[RunView | PackhorseError] = []
        piece: list[tuple[int, str]] = []  # position and body
        size = 0
        for request in requests:
            document = {"client_key": new_id("k"), **request.model_dump(mode="json", exclude_defaults=True)}
            try:
                body = _json_of(document, "The run")
            except PackhorseError as error:
                answers.append(error)
                continue
            if piece and (size + len(body) > _BATCH_BYTES or len(piece) == _RUNS_AT_ONCE):
                self._send_piece(piece, answers)
                piece, size = [], 0
            piece.append((len(answers), body))
            answers.append(Unavailable("The run was not sent."))
            size += len(body)
        if piece:
            self._send_piece(piece, answers)
        return answers

    def _send_piece(self, piece: Sequence[tuple[int, str]], answers: list[RunView | PackhorseError]) -> None:
        """Fills in what a server answers. A request that fails is the answer of its runs, and of no others."""
        content = f"[{','.join(body for _, body in piece)}]".encode()
        headers = {"Content-Type": "application/json"}
        try:
            said = self._again("/runs:batch", list[dict[str, Any]], headers=headers, content=content)
        except PackhorseError as error:
            for position, _ in piece:
                answers[position] = error
            return
        for (position, _), one in zip(piece, said, strict=True):
            why = one.get("error")
            answers[position] = refusal_of(why) if why else RunView.model_validate(one["run"])

    def runs(self, cursor: str | None = None, limit: int = 100) -> Page[RunView]:
        return self._one(Page[RunView], "GET", "/runs", params=_given(cursor=cursor, limit=limit))

    def run(self, run_id: str) -> RunView:
        return self._one(RunView, "GET", f"/runs/{_part(run_id)}")

    def wait(self, run_id: str, seen_done: int, timeout_s: float) -> RunView:
        parameters = {"seen_done": seen_done, "timeout_s": min(timeout_s, _WAIT_S)}
        return self._one(RunView, "GET", f"/runs/{_part(run_id)}/wait", params=parameters)

    def tasks(self, run_id: str, states: list[TaskState] | None, cursor: str | None, limit: int) -> Page[TaskView]:
        parameters = _given(state=[state.value for state in states] if states else None, cursor=cursor, limit=limit)
        return self._one(Page[TaskView], "GET", f"/runs/{_part(run_id)}/tasks", params=parameters)

    def task(self, task_id: str) -> TaskDetail:
        return self._one(TaskDetail, "GET", f"/tasks/{_part(task_id)}")

    def log(self, task_id: str, stream: str, offset: int, attempt: int | None) -> LogPart:
        response = self._request(
            "GET", f"/tasks/{_part(task_id)}/logs/{_part(stream)}", params=_given(offset=offset, attempt=attempt)
        )
        with self._of_packhorse(response):
            return LogPart(
                response.content, int(response.headers["X-Next-Offset"]), response.headers["X-Log-Ended"] == "true"
            )

    def cancel_run(self, run_id: str) -> RunView:
        return self._one(RunView, "POST", f"/runs/{_part(run_id)}/cancel")

    def cancel_task(self, task_id: str) -> TaskView:
        return self._one(TaskView, "POST", f"/tasks/{_part(task_id)}/cancel")

    def retry(self, run_id: str, client_key: str | None) -> RunView:
        return self._submit(f"/runs/{_part(run_id)}/retry", client_key)

    def results(self, run_id: str) -> Iterator[dict[str, Any]]:
        from packhorse.http.client import lines

        with self._streamed(f"/runs/{_part(run_id)}/results") as response, self._of_packhorse(response):
            for line in lines(response, _MAX_ANSWER):
                if line:
                    yield json.loads(line)

    def gathered(self, run_id: str) -> dict[str, Path]:
        """Downloads what ``gathered`` names to below the home folder, which nobody else can write."""
        from packhorse.domain.config import load_config

        folder = load_config().home_folder().absolute() / "downloads" / run_id
        found: dict[str, Path] = {}
        for file in self._one(list[dict[str, Any]], "GET", f"/runs/{_part(run_id)}/files"):
            make_private_folder(folder)
            target = folder / Path(file["filename"]).name
            if target in found.values():  # of another folder
                target = folder / f"{len(found)}-{target.name}"
            self._download(f"/runs/{_part(run_id)}/files/{_part(file['name'])}", target)
            found[file["name"]] = target
        return found

    def usage(self, run_id: str) -> UsageView:
        return self._one(UsageView, "GET", f"/runs/{_part(run_id)}/usage")

    def report(self, run_id: str) -> bytes:
        page = self._request("GET", f"/runs/{_part(run_id)}/report", timeout_s=_REPORT_S)
        if _OUR_PAGE not in page.content[:4096]:  # a proxy's own page is HTML as well
            raise other_server(self._url, page)
        return bytes(page.content)

    def crate(self, run_id: str, target: IO[bytes]) -> None:
        with self._streamed(f"/runs/{_part(run_id)}/crate") as response:
            if response.headers.get("Content-Type") != "application/zip":
                raise other_server(self._url, response)
            for piece in response.iter_bytes():
                target.write(piece)

    def account(self, by: Collection[AccountBy] = tuple(AccountBy), since: float | None = None) -> Account:
        return self._one(Account, "GET", "/usage", params=_given(by=[one.value for one in by], since=since))

    def estimate(self, request: SubmittedRun, rows: Rows | None = None) -> RunExpectation:
        from packhorse.domain.expectations import RunExpectation

        if rows is not None:
            request = request.model_copy(update={"over": list(rows)})
        body = _json_of(request.model_dump(mode="json", exclude_defaults=True), "The run").encode()
        headers = {"Content-Type": "application/json"}
        return self._one(RunExpectation, "POST", "/estimate", headers=headers, content=body, timeout_s=_REPORT_S)

    def task_estimates(self, task_id: str) -> list[TaskEstimate]:
        from packhorse.domain.expectations import TaskEstimate

        return self._one(list[TaskEstimate], "GET", f"/tasks/{_part(task_id)}/estimates")

    def history(self, cursor: str | None = None, limit: int = 1000) -> Page[HistoryRow]:
        from packhorse.domain.history import HistoryRow

        return self._one(Page[HistoryRow], "GET", "/history", params=_given(cursor=cursor, limit=limit))

    def add_history(self, rows: Sequence[HistoryRow]) -> int:
        body = _json_of([row.model_dump(mode="json", exclude_defaults=True) for row in rows], "The history").encode()
        headers = {"Content-Type": "application/json"}
        return self._one(int, "POST", "/history", headers=headers, content=body, timeout_s=_SUBMIT_S)

    def apps(self) -> list[AppView]:
        return self._one(list[AppView], "GET", "/apps")

    def images(self) -> list[ImageView]:
        return self._one(list[ImageView], "GET", "/images")

    def sites(self) -> list[SiteView]:
        return self._one(list[SiteView], "GET", "/sites")

    def doctor(self, site: str | None = None) -> list[Check]:
        return self._one(list[Check], "GET", "/doctor", params=_given(site=site), timeout_s=_DOCTOR_S)

    @property
    def secrets(self) -> HttpSecrets:
        return HttpSecrets(self._one)

    @property
    def sharing(self) -> HttpShares:
        return HttpShares(self._one)

    @contextmanager
    def working(self) -> Iterator[None]:
        yield  # the server's engine works

    def close(self) -> None:
        self._http.close()

    def _submit(
        self, path: str, client_key: str | None, headers: Mapping[str, str] | None = None, **options: Any
    ) -> RunView:
        """Submits under a key: the same key is the same run."""
        headers = {"Idempotency-Key": client_key or new_id("k"), **(headers or {})}
        return self._again(path, RunView, headers=headers, **options)

    def _again(self, path: str, kind: type[T], **options: Any) -> T:
        """Asks for what has keys, and again when the answer was lost on the way."""
        passing: type[Unavailable] = _AnswerLost  # a server that was never reached is not waited for
        pauses_s = list(_AGAIN_S)
        while True:
            try:
                return self._one(kind, "POST", path, timeout_s=_SUBMIT_S, **options)
            except passing:
                if not pauses_s:
                    raise
            passing = Unavailable
            time.sleep(pauses_s.pop(0))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from packhorse.http.errors import NotReached

        try:
            yield
        except NotReached as error:
            raise self._not_reached(error) from None

    def _not_reached(self, error: NotReached) -> PackhorseError:
        """What a person can do about it."""
        from packhorse.http.errors import Fault

        if error.fault in (Fault.SETTING, Fault.URL):
            return InvalidRequest(f"The server at {self._url} cannot be asked: {error.what}.", hint=error.hint)
        kind = _AnswerLost if error.sent and error.fault not in (Fault.REDIRECT, Fault.LARGE) else Unavailable
        hint = error.hint if error.fault in _OWN_HINT else "Is it running, and is PACKHORSE_URL right?"
        if error.fault is Fault.REDIRECT:
            hint = (
                "PACKHORSE_URL is to be the URL that it has in the end, with https:// if it has that; the token is sent"
                " nowhere else."
            )
        return kind(f"The server at {self._url} does not answer: {error.what}.", hint=hint)

    @contextmanager
    def _streamed(self, path: str) -> Iterator[Any]:
        from packhorse.http.client import read

        with self._translated(), self._http.stream("GET", f"{self._url}/api/v1{path}", headers=self._token) as response:
            if not response.is_success:
                raise refusal(self._url, response, read(response))
            yield response

    def _download(self, path: str, target: Path) -> None:
        """Under its name only when it is whole."""
        part = target.with_name(f".{target.name}.part")
        with self._streamed(path) as response, part.open("wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)
        part.replace(target)

    def _request(
        self,
        method: str,
        path: str,
        timeout_s: float = _TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Any:
        options = {
            "timeout_s": timeout_s,
            "total_s": 2 * timeout_s,
            "limit": _MAX_ANSWER,
            "patience_s": _PATIENCE_S,
            **options,
        }
        with self._translated():
            response = self._http.ask(
                method, f"{self._url}/api/v1{path}", headers={**self._token, **(headers or {})}, **options
            )
        if not response.is_success:
            raise refusal(self._url, response, response.content)
        return response

    def _one(self, kind: type[T], method: str, path: str, **options: Any) -> T:
        """The answer, as ``kind``."""
        response = self._request(method, path, **options)
        with self._of_packhorse(response):
            return TypeAdapter(kind).validate_json(response.content or b"null")

    @contextmanager
    def _of_packhorse(self, response: Any) -> Iterator[None]:
        """An answer that is none of Packhorse's is told so."""
        try:
            yield
        except (ValueError, KeyError):  # pydantic's refusals are ValueErrors
            raise other_server(self._url, response) from None


class _FromTheStart:
    """A file as the body of a request that may be made again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(1 << 16):
            yield piece


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
