"""``Client().run(app, over=table)``: submit, wait, read results; on this machine, or on a server."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from packhorse.client.answers import server_url
from packhorse.client.backend import Backend
from packhorse.client.handle import RunHandle
from packhorse.client.tables import plain_values, rows_of
from packhorse.domain.errors import InvalidRequest, PackhorseError
from packhorse.domain.numbers import shown
from packhorse.domain.tables import Table
from packhorse.domain.views import Account, AccountBy, AppView, ImageView, RunView

if TYPE_CHECKING:  # models that are slow to build, and most commands do without
    from packhorse.client.pipeline import Pipeline
    from packhorse.domain.expectations import RunExpectation
    from packhorse.domain.run import NamedTask, SubmittedRun

_REFUSED = "The run was not accepted."


def find_token(url: str, token: str | None = None) -> str | None:
    """A token given, or ``$PACKHORSE_TOKEN``, or the content of ``$PACKHORSE_TOKEN_FILE``; for a server on this
    machine also of the file that it left. That one is an admin's: it is never sent to another machine."""
    if token or (token := os.environ.get("PACKHORSE_TOKEN")):
        return token
    if named := os.environ.get("PACKHORSE_TOKEN_FILE"):
        try:
            return Path(named).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(
                f"The token in {named} cannot be read: {error}.", hint="PACKHORSE_TOKEN_FILE names it."
            ) from None
    if not _is_this_machine(url):
        return None
    from packhorse.domain.config import load_config

    config = load_config()
    try:
        return (config.home_folder() / "token").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError, InvalidRequest):  # the last where there is no home
        return None


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def account_by(text: str) -> AccountBy:
    """Refuses what an account cannot be divided by."""
    try:
        return AccountBy(text)
    except ValueError:
        raise InvalidRequest(f"Usage by '{text[:60]}': expected one of {', '.join(AccountBy)}.") from None


def _mapping(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise InvalidRequest(f"'{name}' is no mapping: found {shown(given)}.", hint=f"{name}={{...}}")
    return dict(given or {})


def _run_or_refusal(run: SubmittedRun | Mapping[str, Any]) -> SubmittedRun | PackhorseError:
    from packhorse.domain.run import AppRun, PipelineRun, StepRun, TaskRun
    from packhorse.domain.submitted import run_of

    if isinstance(run, AppRun | TaskRun | StepRun | PipelineRun):
        return run
    try:
        return run_of(dict(run) if isinstance(run, Mapping) else run)
    except PackhorseError as error:
        return error


def _request(
    app: str | Path | Pipeline,
    params: Mapping[str, Any] | None,
    resources: Mapping[str, Any] | None,
    image: str | None,
    said: Mapping[str, Any],
) -> SubmittedRun:
    """A run of an app or a pipeline, of which more is ``said``."""
    from packhorse.client.pipeline import Pipeline
    from packhorse.domain.problems import validated
    from packhorse.domain.run import AppRun, PipelineRun

    document: dict[str, Any] = {
        "params": plain_values(_mapping("params", params), "params"),
        "resources": plain_values(_mapping("resources", resources), "resources"),
        "image": image,
        **said,
    }
    if isinstance(app, Pipeline):
        document |= {"pipeline": app.manifest()}
        document.pop("gather", None)
        return validated(PipelineRun, document, _REFUSED, kind="argument")
    return validated(AppRun, document | {"app": str(app)}, _REFUSED, kind="argument")


class Client:
    """Talks to the server at ``url`` (or ``$PACKHORSE_URL``); without one, runs everything in this process on
    ``home``.
    """

    def __init__(self, url: str | None = None, token: str | None = None, home: str | Path | None = None) -> None:
        url = url or (os.environ.get("PACKHORSE_URL") if home is None else None)
        self._backend: Backend
        if url:
            from packhorse.client.backends import HttpBackend

            self._backend = HttpBackend(url, find_token(server_url(url), token))
        else:
            from packhorse.domain.config import load_config
            from packhorse.logs import quiet_unless_configured

            quiet_unless_configured()  # before anybody else imports structlog
            from packhorse.client.embedded import EmbeddedBackend  # slow to import

            config = load_config()
            folder = Path(home) if home else config.home_folder()
            self._backend = EmbeddedBackend(
                folder,
                config.app_folders(),
                config.database,
                config.sites,
                config.images,
                config.data,
                config.estimates,
            )

    def run(
        self,
        app: str | Path | Pipeline,
        over: str | Path | Iterable[Mapping[str, Any]] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        name: str = "",
        tags: Mapping[str, str] | None = None,
        resources: Mapping[str, Any] | None = None,
        retry: Mapping[str, int] | None = None,
        session: str | None = None,
        gather: bool = True,
        image: str | None = None,
        outputs: str | None = None,
        priority: int = 0,
        reuse: bool | None = None,
        client_key: str | None = None,
    ) -> RunHandle:
        """Submits one task per row of ``over`` (a file, a list of dicts, a DataFrame), or a single one, and returns at
        once.

        ``app`` is a name, the path of an app.yaml or of its folder, or a Pipeline. ``params`` are common to all rows.
        ``image`` is used instead of the app's own ('none': the host's programs). Output files are delivered below the
        URL ``outputs``. Of one's own runs, those of a higher ``priority`` (-100 to 100) are placed first. ``reuse``
        takes results of one's earlier tasks where nothing has changed (None: as the site says). ``client_key`` makes
        the call idempotent. Raises the refusals of ``packhorse.domain.errors``.
        """
        said: dict[str, Any] = {
            "name": name,
            "tags": _mapping("tags", tags),
            "retry": _mapping("retry", retry),
            "session": session or None,
            "gather": gather,
            "outputs": outputs,
            "priority": priority,
            "reuse": reuse,
            "client_key": client_key,
        }
        return self.submit(_request(app, params, resources, image, said), rows_of(over))

    def estimate(
        self,
        app: str | Path | Pipeline,
        over: str | Path | Iterable[Mapping[str, Any]] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        image: str | None = None,
    ) -> RunExpectation:
        """Says what such a run is expected to need, as ``packhorse estimate`` does; nothing is submitted.

        By step: memory (MB), wall time (s), cores and core-hours, each with an interval and how many attempts stand
        behind it; and how long allocations waited in the queue (s). Refuses what ``run`` refuses.
        """
        return self._backend.estimate(_request(app, params, resources, image, {}), rows_of(over))

    def run_tasks(
        self,
        tasks: Mapping[str, Any] | Iterable[NamedTask | Mapping[str, Any]],
        *,
        name: str = "",
        reuse: bool | None = None,
        client_key: str | None = None,
    ) -> RunHandle:
        """Submits TES tasks with edges, or one TES task by itself."""
        from packhorse.domain.submitted import task_run

        if isinstance(tasks, str | bytes) or not isinstance(tasks, Iterable):
            raise InvalidRequest(f"'tasks' is no list of tasks: found {shown(tasks)}.")
        said = {"name": name or None, "reuse": reuse, "client_key": client_key or None}
        document = tasks if isinstance(tasks, Mapping) else list(tasks)
        return self.submit(task_run(document, {key: value for key, value in said.items() if value is not None}))

    def run_steps(
        self,
        steps: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        name: str = "",
        reuse: bool | None = None,
        client_key: str | None = None,
    ) -> RunHandle:
        """Submits steps with edges: a list of them, or ``{"steps": [...]}`` with what else is to be said of the run."""
        from packhorse.domain.submitted import run_of

        if isinstance(steps, str | bytes) or not isinstance(steps, Iterable):
            raise InvalidRequest(f"'steps' is no list of steps: found {shown(steps)}.")
        own = dict(steps) if isinstance(steps, Mapping) else {"steps": list(steps)}
        said = {"name": name or None, "reuse": reuse, "client_key": client_key or None}
        given = {key: value for key, value in said.items() if value is not None}
        return self.submit(run_of({"steps": [], **own, **given}))

    def submit(self, request: SubmittedRun, rows: Iterable[Mapping[str, Any]] | None = None) -> RunHandle:
        """Submits what was made elsewhere; ``rows`` as ``packhorse.client.tables`` makes them."""
        view = self._backend.submit(request, rows)
        if isinstance(rows, Table):  # a server has not seen what was left out here
            view = view.model_copy(update={"notes": rows.notes})
        return self._handle(view)

    def submit_many(self, runs: Iterable[SubmittedRun | Mapping[str, Any]]) -> list[RunHandle | PackhorseError]:
        """Submits many small runs together, each as ``POST /api/v1/runs`` has it: {"app": ..., "params": ...}.

        Returns, by position, the run, or why it was refused: one that is wrong does not concern the others.
        """
        given = [_run_or_refusal(run) for run in runs]
        answers = iter(self._backend.submit_many([run for run in given if not isinstance(run, PackhorseError)]))
        told = [run if isinstance(run, PackhorseError) else next(answers) for run in given]
        return [answer if isinstance(answer, PackhorseError) else self._handle(answer) for answer in told]

    def get(self, run_id: str) -> RunHandle:
        """A run that was submitted before."""
        return self._handle(self._backend.run(run_id))

    def runs(self) -> Iterator[RunView]:
        """All runs, newest first."""
        cursor: str | None = None
        while True:
            page = self._backend.runs(cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def apps(self) -> list[AppView]:
        """The apps that can be run by name."""
        return self._backend.apps()

    def images(self) -> list[ImageView]:
        """Container images at sites, and those on their way there."""
        return self._backend.images()

    def usage(self, by: Collection[str] = tuple(AccountBy), since: float | None = None) -> Account:
        """What allocations paid for this user, or, to an admin, for everybody, by 'site', 'user' and 'app'.

        ``since``, in seconds since the epoch, leaves out allocations that ended before.
        """
        return self._backend.account([account_by(one) for one in by], since)

    @property
    def backend(self) -> Backend:
        """The bare methods, for tools."""
        return self._backend

    def close(self) -> None:
        """Gives connections back."""
        self._backend.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handle(self, view: RunView) -> RunHandle:
        return RunHandle(self._backend, view)
