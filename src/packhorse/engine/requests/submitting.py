"""Submissions: each is accepted whole, or refused with all that is wrong; thousands may come together."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from pydantic_core import PydanticSerializationError

from packhorse.domain.access import POLICY, Action
from packhorse.domain.app import AppManifest
from packhorse.domain.errors import Conflict, InvalidRequest, NotAllowed, PackhorseError, Unavailable
from packhorse.domain.ids import new_id
from packhorse.domain.run import AppRun, PipelineRun, StepRun, SubmittedRun, TaskRun
from packhorse.domain.text import kept_json, text_problem
from packhorse.domain.users import User
from packhorse.engine.change import Change, Wake
from packhorse.engine.requests.accept import Accepted, Requester, SubmittedApp, with_reuse
from packhorse.engine.requests.accept_table import accept_app_run
from packhorse.engine.requests.checking import findings_of, refuse_findings, refuse_kbase
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.submission import Submission, Written
from packhorse.engine.unfinished import ABANDONED_S, remove_pieces, remove_unfinished
from packhorse.sites.site import Site
from packhorse.staging.apps import AppCatalog, AppFolder, pack_folder
from packhorse.store.database import Database
from packhorse.store.images import want_images
from packhorse.store.newtasks import INSERT_CHUNK, batches
from packhorse.store.runs import (
    Begun,
    NewRun,
    add_tasks,
    begin_run,
    find_by_client_keys,
    insert_runs,
    publish_run,
)
from packhorse.store.steps import keep_app, known_apps
from packhorse.store.together import Together

Rows = Iterable[Mapping[str, Any]]

_MOST_AT_ONCE = 500  # runs of one request before those of others
_ROW_BYTES = 150  # of a task in the store, besides its values
_APPS_HINT = "Run one of the server's apps ('packhorse apps'), or ask its operator to add yours."


class Submissions:
    """Checks and writes runs. ``wake`` is called when some have been written."""

    def __init__(
        self,
        database: Database,
        sites: Sequence[Site],
        catalog: AppCatalog,
        files: FileRules,
        wake: Wake,
    ) -> None:
        self._database = database
        self._together = Together[Submission, Written](database, _insert_all, lambda one: one.tasks + 1)
        self._sites = list(sites)
        self._catalog = catalog
        self._files = files
        self._wake = wake
        self._kept: set[str] = set()  # digests of apps that the store has

    # --- checking ------------------------------------------------------------

    def check(
        self, user: User, request: SubmittedRun, rows: Rows | None = None, catalog: AppCatalog | None = None
    ) -> Submission:
        """Accepts a run, or raises the refusal. ``rows`` (read once) stand in for ``over``; ``catalog`` for our own,
        where several runs are asked for at once.
        """
        catalog = catalog or self._catalog
        is_trusted, own_commands = POLICY.allows(user, Action.TRUST), isinstance(request, TaskRun)
        if request.image is not None and not is_trusted and not own_commands:
            raise NotAllowed("An image instead of the app's own is for admins here.", hint=_APPS_HINT)
        key = self.checked_key(request.client_key)
        files = self.files_for(user)
        by = Requester(new_id("r"), user.name, files, self._sites, needs_image=own_commands and not is_trusted)
        if isinstance(request, AppRun | PipelineRun):
            table = rows if rows is not None else request.over if request.over is not None else [{}]
            accepted = self._over_table(user, request, table, by, catalog)
        elif isinstance(request, StepRun):
            apps = {
                name: self._named_app(catalog.get(name, paths_allowed=is_trusted), catalog)
                for name in {step.app for step in request.steps}
            }
            from packhorse.engine.requests.accept_steps import accept_step_run  # most runs are of one app

            self._require_secrets(user, (one.manifest for one in apps.values()))
            accepted = accept_step_run(request, apps, by)
        else:
            from packhorse.engine.requests.accept_documents import accept_task_run
            from packhorse.engine.requests.ownsecrets import require_named

            accepted = accept_task_run(request, by)
            named = [name for step in accepted.steps for name in step.spec.params.get("secrets", ())]
            require_named(self._database, user, named, "The task")
        accepted = with_reuse(accepted, request.reuse, self._sites)
        name = request.name or accepted.name
        return Submission(accepted, user.name, name, key, _digest(request, accepted))

    def _over_table(
        self, user: User, request: AppRun | PipelineRun, table: Rows, by: Requester, catalog: AppCatalog
    ) -> Accepted:
        is_trusted = POLICY.allows(user, Action.TRUST)
        if isinstance(request, PipelineRun):
            manifest, file = request.pipeline, None
            folders = catalog.apps_of(manifest, None, paths_allowed=is_trusted)
        else:
            found = catalog.find(request.app, paths_allowed=is_trusted)
            if isinstance(found, AppFolder):
                self._require_secrets(user, [found.manifest])
                return accept_app_run(request, self._named_app(found, catalog), table, by)
            manifest, file = found.manifest, found.file
            folders = catalog.apps_of(manifest, found.folder)
        told = {name: one.manifest if isinstance(one, AppFolder) else one for name, one in folders.items()}
        from packhorse.engine.requests.accept_pipeline import accept_pipeline_run
        from packhorse.engine.requests.history import history_of

        refuse_findings(findings_of(manifest, told), file)
        self._require_secrets(user, told.values())
        apps = {name: self._named_app(one, catalog) for name, one in folders.items() if isinstance(one, AppFolder)}
        history = history_of(self._database, user.name)
        return accept_pipeline_run(request, manifest, apps, table, by, history)

    def _require_secrets(self, user: User, manifests: Iterable[object]) -> None:
        if wanting := [one for one in manifests if isinstance(one, AppManifest) and one.secrets]:
            from packhorse.engine.requests.ownsecrets import require_secrets

            require_secrets(self._database, user, wanting)

    @staticmethod
    def checked_key(key: str | None) -> str | None:
        """A client key that can be kept. Raises InvalidRequest."""
        if key is not None and (why := text_problem(key)):
            raise InvalidRequest(f"The client key {why}.", hint="Use printable characters.")
        return key or None

    def _named_app(self, app: AppFolder, catalog: AppCatalog) -> SubmittedApp:
        refuse_kbase(app.manifest)
        return self.kept_app(app, catalog)

    def kept_app(self, app: AppFolder, catalog: AppCatalog | None = None) -> SubmittedApp:
        """An app that is to be run, once the store has its folder."""
        digest = (catalog or self._catalog).digest(app)
        return SubmittedApp(app.manifest, digest if digest in self._kept else self._keep(app, digest))

    def _keep(self, app: AppFolder, digest: str) -> str:
        with self._database.read() as connection:
            known = known_apps(connection, [digest])
        if not known:
            digest, archive = pack_folder(app)
            manifest = kept_json(app.manifest.as_json())
            with self._database.write() as connection:
                keep_app(connection, digest, app.manifest.name, manifest, archive, time.time())
        self._kept.add(digest)
        return digest

    def files_for(self, user: User) -> FileRules:
        """What a user may name. Where no folders are configured, only an admin may name files; where no URLs are, only
        an admin may name URLs.
        """
        if POLICY.allows(user, Action.TRUST):
            return replace(self._files, urls=None, output_urls=None)
        files = self._files
        return replace(files, roots=files.roots or (), urls=files.urls or (), output_urls=files.output_urls or ())

    # --- writing ------------------------------------------------------------

    def write(self, submission: Submission) -> Written:
        """Writes an accepted run, unless its key shows that it was written before. Raises Conflict, Unavailable."""
        if submission.tasks > INSERT_CHUNK:
            written = self._write_long(submission)
        else:
            try:
                written = self._together.write(submission)
            except sa.exc.IntegrityError:  # the same key, submitted at the same moment
                written = self._written_before(submission)
        self._wake(submission.change, submission.sites)
        return written

    def write_many(self, submissions: Sequence[Submission | PackhorseError]) -> list[Written | PackhorseError]:
        """By position: what was written, or why not; those that are refusals already stay so.

        Some hundred share a transaction; each stands or falls by itself.
        """
        answers: list[Written | PackhorseError] = []
        for start in range(0, len(submissions), _MOST_AT_ONCE):
            some = submissions[start : start + _MOST_AT_ONCE]
            short = [one for one in some if isinstance(one, Submission) and one.tasks <= INSERT_CHUNK]
            done = iter(self._together.write_many(short))
            for one in some:
                if isinstance(one, PackhorseError):
                    answers.append(one)
                    continue
                answer = next(done) if one.tasks <= INSERT_CHUNK else None
                if isinstance(answer, Written | PackhorseError):
                    answers.append(answer)
                elif answer is None or isinstance(answer, sa.exc.IntegrityError):
                    answers.append(self._alone(one))
                else:
                    raise answer
            self._wake_for([one for one in some if isinstance(one, Submission)])
        return answers

    def _wake_for(self, some: Sequence[Submission]) -> None:
        change, sites = Change(0), set[str]()
        for one in some:
            change |= one.change
            sites |= one.sites
        if some:
            self._wake(change, sites)

    def _alone(self, submission: Submission) -> Written | PackhorseError:
        try:
            return self.write(submission)
        except PackhorseError as error:
            return error

    def _write_long(self, submission: Submission) -> Written:
        """In batches, each in a transaction of its own, under a run that nobody sees before the last."""
        run = submission.run()
        deque(remove_unfinished(self._database), maxlen=0)
        try:
            with self._database.write() as connection:
                if (before := _before(connection, submission)) is not None:
                    return before
                begun = begin_run(connection, run)
        except sa.exc.IntegrityError:
            return self._written_before(submission)
        try:
            self._write_tasks(submission, begun)
        except BaseException:
            with suppress(PackhorseError):
                deque(remove_pieces(self._database, begun.seq), maxlen=0)
            raise
        return Written(submission.accepted.run_id, run.values["created_at"])

    def _write_tasks(self, submission: Submission, begun: Begun) -> None:
        accepted = submission.accepted
        for number, step in enumerate(accepted.steps):
            done = 0
            for some in batches(step.tasks()):
                self._database.require_room(sum(len(task.params) + _ROW_BYTES for task in some))
                with self._database.write() as connection:
                    add_tasks(connection, begun, number, some, done)
                done += len(some)
        with self._database.write() as connection:
            want_images(connection, begun.seq, accepted.images)
            publish_run(connection, begun)

    def _written_before(self, submission: Submission) -> Written:
        with self._database.read() as connection:
            before = _before(connection, submission)
        if before is None:
            raise Unavailable("The run could not be written.", hint="Nothing of it was accepted; submit it again.")
        return before


def _insert_all(connection: sa.Connection, some: Sequence[Submission]) -> list[Written | Exception]:
    """Writes those whose keys are new; the others are told what was written before, or why they are refused."""
    keys = [(one.user, one.client_key) for one in some if one.client_key is not None]
    known = {key: _Before.of(row) for key, row in find_by_client_keys(connection, keys).items()}
    answers: list[Written | Exception] = []
    new: list[tuple[Submission, NewRun]] = []
    for one in some:
        if one.client_key is not None and (before := known.get((one.user, one.client_key))) is not None:
            answers.append(before.answer(one))
            continue
        run = one.run()
        new.append((one, run))
        answers.append(Written(one.accepted.run_id, run.values["created_at"]))
        if one.client_key is not None:  # others of the same key may follow
            known[one.user, one.client_key] = _Before(one.accepted.run_id, one.digest)
    if not new:
        return answers
    seqs = insert_runs(connection, [(run, [step.tasks() for step in one.accepted.steps]) for one, run in new])
    for seq, (one, _) in zip(seqs, new, strict=True):
        want_images(connection, seq, one.accepted.images)
    return answers


@dataclass(frozen=True, slots=True)
class _Before:
    """The run that a key was used for before."""

    run_id: str
    digest: str
    visible: bool = True

    @classmethod
    def of(cls, row: Any) -> _Before:
        """From its row of the store."""
        return cls(row.id, row.request_hash, row.visible)

    def answer(self, again: Submission) -> Written | PackhorseError:
        """What is said to a submission of the same key."""
        key = again.client_key
        if self.digest != again.digest:
            hint = "Use a new key for a new request."
            return Conflict(f"The client key '{key}' was used for another request, run {self.run_id}.", hint=hint)
        if not self.visible:
            return Unavailable(
                f"A run with the client key '{key}' is being written at this moment, or its writing was cut off.",
                hint=f"Submit it again in {ABANDONED_S:g} s.",
            )
        return Written(self.run_id, again=True)


def _before(connection: sa.Connection, submission: Submission) -> Written | None:
    """The run that a key was used for before, if that was the same request. Raises Conflict, Unavailable."""
    if submission.client_key is None:
        return None
    key = (submission.user, submission.client_key)
    row = find_by_client_keys(connection, [key]).get(key)
    answer = _Before.of(row).answer(submission) if row is not None else None
    if isinstance(answer, PackhorseError):
        raise answer
    return answer


def _digest(request: SubmittedRun, accepted: Accepted) -> str:
    """Tells a repeated request from another one under the same client key."""
    left_out = {"client_key", "over"} | ({"priority"} if request.priority == 0 else set())
    left_out |= {"reuse"} if request.reuse is None else set()
    try:
        asked = request.model_dump_json(exclude=left_out)
    except PydanticSerializationError:  # the name of a file is not UTF-8
        asked = kept_json(request.model_dump(mode="json", exclude=left_out))
    return hashlib.sha256(asked.encode() + accepted.tables).hexdigest()
