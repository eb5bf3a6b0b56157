"""Runs jobs: one, a batch, those that failed again, and those that a job starts below its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from secrets import token_urlsafe
from typing import Any

from packhorse.domain.access import POLICY, Action
from packhorse.domain.errors import InvalidRequest, NotAllowed, PackhorseError, TooLarge
from packhorse.domain.kbase import (
    CONCIERGE,
    META,
    JobRequest,
    Status,
    concierge_requirements,
    job_id,
    job_request,
    truth,
    wsid_of,
)
from packhorse.engine.requests.kbase.access import Access
from packhorse.engine.requests.kbase.context import KBaseContext
from packhorse.engine.requests.kbase.methods import requirements_for
from packhorse.engine.requests.kbase.states import batch_of, retry_parent_of, status_of
from packhorse.engine.requests.kbase.submitting import Planned, Resolved, group_again, groups_of, plan_run
from packhorse.engine.requests.limits import Limits
from packhorse.engine.requests.submission import Submission, Written
from packhorse.engine.steps.kbase import CALLBACK, SECURE, KBaseStep
from packhorse.store.kbase.jobs import load_jobs, reported_of
from packhorse.store.kbase.runs import BATCH_INDEX
from packhorse.store.runs import seqs_of
from packhorse.store.schema import TASKS_PER_RUN

MAX_RETRIES = 10_000  # in one request
#: Where jobs start others, as they are told: this, a secret of their run, and their task.
CALLBACK_PATH = "/services/callback"
_FULL_ADMIN = "In order to specify job requirements you must be a full admin"


class Running:
    """What starts jobs, for one caller."""

    def __init__(self, context: KBaseContext, access: Access) -> None:
        self._context = context
        self._access = access
        self._caller = access.caller

    def run_job(self, document: Any) -> str:
        """One job; its id. Raises TooMany, as whatever starts jobs does."""
        self._limits.submission(self._caller.user)
        request = job_request(document)
        if request.as_admin:
            self._access.require_admin(write=True)
        else:
            self._access.require_write(request.wsid)
        resolved = self._resolved([request])
        return job_id(*self._written(self._planned(resolved, self._about(request.wsid, resolved))))

    def run_job_concierge(self, document: Any, asked: Any) -> str:
        """One job that asks for what only the concierge may, beside admins; its id."""
        if not asked:
            return self.run_job(document)
        request = job_request(document)
        self._access.require_write(request.wsid)
        if self._caller.name != CONCIERGE:
            raise NotAllowed("You are not the concierge user. This method is not for you")
        resolved = self._resolved([replace(request, requirements=concierge_requirements(asked))], is_allowed=True)
        return job_id(*self._written(self._planned(resolved, self._about(request.wsid, resolved))))

    def run_job_batch(self, documents: Any, batch: Any) -> tuple[str, list[str]]:
        """(id of the job that stands for the batch, ids of its jobs), which are one run."""
        if not isinstance(documents, list):
            raise InvalidRequest("params must be a list")
        self._limits.submission(self._caller.user)
        about = batch if isinstance(batch, dict) else {}
        wsid = wsid_of(about.get("wsid"))
        if truth(about.get("as_admin")):
            self._access.require_admin(write=True)
        else:
            self._access.require_write(wsid)
        requests = [self._of_batch(number, one, len(documents), wsid) for number, one in enumerate(documents, start=1)]
        resolved = self._resolved(requests)
        cell = about.get("meta")
        kept = {
            name: str(value)
            for name, value in (cell if isinstance(cell, dict) else {}).items()
            if name in META and value is not None
        }
        planned = self._planned(resolved, {**self._about(wsid, resolved), "batch": True, "meta": {"cell": kept}})
        first, at = self._written(planned)
        return job_id(first + BATCH_INDEX, at), [job_id(first + index, at) for index in planned.indexes]

    def run_in_order(self, requests: Sequence[JobRequest], meta: Mapping[str, Any]) -> str:
        """Jobs of which each waits for the one before; the id of the job that stands for them, or of the only one.

        ``meta`` is kept with their run.
        """
        resolved = self._resolved(requests)
        about = {**self._about(None, resolved), "batch": len(requests) > 1, "meta": dict(meta)}
        groups = [group for one in resolved for group in groups_of([one], self._context.config, {})]
        for place, group in enumerate(groups):
            group.places = [place]
        planned = plan_run(groups, self._caller.name, self._context.sites, about, in_order=True)
        first, at = self._written(planned)
        return job_id(first + (BATCH_INDEX if len(requests) > 1 else 0), at)

    def run_below(self, parent: int, run: Any, document: Any, shared: str) -> str:
        """A job that another one starts: in the same workspace, at the same site, with the same folder for files.

        How often is not limited: a running job that is told to wait fails.
        """
        self._limits.stored(self._caller.user)
        request = job_request(document)
        request = replace(request, wsid=run.wsid, parent_job_id=job_id(parent, run.created_at), requirements={})
        with self._context.database.read() as connection:
            [row] = load_jobs(connection, [parent], params=False, result=False)
            site = self._context.steps.of(connection, row.step_seq).row.site
        resolved = [replace(one, requirements={**one.requirements, "site": site}) for one in self._resolved([request])]
        about = {**self._about(run.wsid, resolved), "parent": parent}
        return job_id(*self._written(self._planned(resolved, about, {"shared": shared})))

    # --- again ------------------------------------------------------------

    def retry_job(self, job: Any, *, as_admin: bool) -> str:
        """The id of the job that tries again."""
        answer = self.retry_jobs([job], as_admin=as_admin)[0]
        if isinstance(answer, PackhorseError):
            raise answer
        return answer

    def retry_jobs(self, jobs: Any, *, as_admin: bool) -> list[str | PackhorseError]:
        """By position: the id of the job that tries again, or why there is none."""
        if not isinstance(jobs, list) or not jobs:
            raise InvalidRequest("No job_ids provided to retry")
        if len(jobs) > MAX_RETRIES:
            raise TooLarge(f"{len(jobs):,} jobs are to be retried at once; the limit is {MAX_RETRIES:,}.")
        twice = [job for job, number in Counter(map(str, jobs)).items() if number > 1]
        if twice:
            told = "Retry of the same id in the same request is not supported."
            raise InvalidRequest(f"{told} Offending ids: {twice[:20]}")
        self._limits.submission(self._caller.user)
        planned = [self._planned_again(job, as_admin=as_admin) for job in jobs]
        some = [one.submission if isinstance(one, Planned) else one for one in planned]
        written = self._context.submissions.write_many(some)
        ids = self._first_ids(some, written)
        return [ids[place] if place in ids else _refusal(written[place]) for place in range(len(jobs))]

    def _planned_again(self, job: Any, *, as_admin: bool) -> Planned | PackhorseError:
        try:
            with self._context.database.read() as connection:
                task, run = self._access.require(connection, job, write=True, as_admin=as_admin)
                if task % TASKS_PER_RUN == BATCH_INDEX:
                    raise InvalidRequest("Cannot retry batch job parents. Must retry individual jobs")
                [row] = load_jobs(connection, [task], params=True, result=False)
                reported = reported_of(connection, [task]).get(task)
                step = self._context.steps.of(connection, row.step_seq)
            status = status_of(row.state, reported, row.attempt)
            if status not in (Status.ERROR, Status.TERMINATED):
                told = "can only retry jobs with status 'error' or 'terminated'"
                raise InvalidRequest(f"Error retrying job {job} with status {status}: {told}")
            assert isinstance(step, KBaseStep)
            batch_id, first = batch_of(run, reported), retry_parent_of(run) or str(job)
            batch_seq = (run.run_seq if run.batch else run.batch_seq) if batch_id else None
            about = {
                **self._about(run.wsid, []),
                "batch_seq": batch_seq,
                "retry_of": task if run.retry_of is None else run.retry_of,
                "meta": {"batch_id": batch_id, "retry_parent": first},
                "sealed": self._sealed(self._secure_of(step)),
            }
            planned = plan_run([group_again(step, row.params)], self._caller.name, self._context.sites, about)
            self._limits.tasks(self._caller.user, 1)
            return planned
        except PackhorseError as error:
            return error

    # --- parts ------------------------------------------------------------

    @property
    def _limits(self) -> Limits:
        return self._context.limits()

    def _of_batch(self, number: int, document: Any, of: int, wsid: int | None) -> JobRequest:
        if isinstance(document, dict) and document.get("wsid") is not None:
            raise InvalidRequest("Workspace ids are not allowed in RunJobParams in Batch Mode")
        try:
            request = job_request(document)
            if request.parent_job_id is not None:
                raise InvalidRequest("batch jobs may not specify a parent job ID")
            return replace(request, wsid=wsid)
        except InvalidRequest as error:
            raise InvalidRequest(f"Job #{number}: {error.message}" if of > 1 else error.message) from None

    def _resolved(self, requests: Sequence[JobRequest], *, is_allowed: bool = False) -> list[Resolved]:
        """Each with its app and its requirements, looked up once for all of a kind. ``is_allowed``: requests may have
        requirements of their own, also those of no admin.
        """
        references = {one for request in requests for one in request.source_ws_objects}
        if references:
            self._context.workspaces.require_objects(self._caller.token, references)
        known: dict[tuple[Any, ...], Resolved] = {}
        found = []
        for request in requests:
            if request.requirements and not is_allowed and not POLICY.allows(self._caller.user, Action.MANAGE):
                raise NotAllowed(_FULL_ADMIN)
            kind = (request.method, request.service_ver, tuple(sorted(request.requirements.items())))
            if kind not in known:
                method = self._context.methods.find(request.method, request.service_ver)
                asked = requirements_for(request, self._context.config, self._context.catalog)
                digest = self._context.submissions.kept_app(method.app).digest
                known[kind] = Resolved(request, method, digest, asked)
            found.append(replace(known[kind], request=request))
        return found

    def _about(self, wsid: int | None, jobs: Sequence[Resolved]) -> dict[str, Any]:
        """A row of ``kbase_runs``; a run alone has no batch, and no parent."""
        secure: dict[str, str] = {}
        for module, version, names in {
            (one.method.about.module, one.method.commit, tuple(one.method.about.secure)) for one in jobs
        }:
            secure |= self._secure(module, version, names)
        alone: dict[str, Any] = {"batch": False, "batch_seq": None, "retry_of": None, "parent": None, "meta": {}}
        return {"wsid": wsid, **alone, "sealed": self._sealed(secure) if jobs else None}

    def _secure_of(self, step: KBaseStep) -> dict[str, str]:
        about = step.app.kbase
        names = tuple(step.spec.params.get("secure", ()))
        return self._secure(about.module, step.spec.params["service_ver"], names) if about is not None else {}

    def _secure(self, module: str, version: str, names: Sequence[str]) -> dict[str, str]:
        if not names:
            return {}
        values = self._context.catalog.secure_parameters(module, version)
        if missing := sorted(set(names) - values.keys()):
            raise InvalidRequest(f"KBase's catalogue has no secure parameter '{missing[0]}' of the module {module}.")
        return {f"{SECURE}{name}": values[name] for name in names}

    def _sealed(self, secure: Mapping[str, str]) -> bytes:
        """What the jobs of a run are given, and nobody else."""
        env, secret = dict(secure), token_urlsafe(24)
        if url := self._context.config.external_url:
            env[CALLBACK] = f"{url.rstrip('/')}{CALLBACK_PATH}/{secret}/{{task}}"
        return self._context.seal.close({"token": self._caller.token, "callback": secret, "env": env})

    def _planned(
        self, jobs: Sequence[Resolved], about: Mapping[str, Any], shared: Mapping[str, Any] | None = None
    ) -> Planned:
        groups = groups_of(jobs, self._context.config, shared or {})
        return plan_run(groups, self._caller.name, self._context.sites, about)

    def _written(self, planned: Planned) -> tuple[int, float]:
        """(first task, when it was made) of a run of jobs, once it is durable."""
        self._limits.tasks(self._caller.user, planned.submission.tasks)
        written = self._context.submissions.write(planned.submission)
        with self._context.database.read() as connection:
            return seqs_of(connection, [written.run_id])[written.run_id] * TASKS_PER_RUN, written.at

    def _first_ids(
        self, some: Sequence[Submission | PackhorseError], written: Sequence[Written | PackhorseError]
    ) -> dict[int, str]:
        done = {place: one for place, one in enumerate(written) if isinstance(one, Written)}
        with self._context.database.read() as connection:
            seqs = seqs_of(connection, [one.run_id for one in done.values()])
        return {place: job_id(seqs[one.run_id] * TASKS_PER_RUN, one.at) for place, one in done.items()}


def _refusal(answer: Written | PackhorseError) -> PackhorseError:
    assert isinstance(answer, PackhorseError)
    return answer
