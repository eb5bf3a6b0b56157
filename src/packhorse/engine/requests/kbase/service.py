"""What KBase's clients may ask for, each for the caller who asks: EE2's methods, as functions of Python values."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import Any

from packhorse.domain.access import POLICY, Action
from packhorse.domain.errors import Conflict, InvalidRequest, NotFound, PackhorseError
from packhorse.domain.ids import parse_task_id
from packhorse.domain.kbase import OVER, Status, job_id, not_found, truth, wsid_of
from packhorse.domain.kbaseconfig import KBaseConfig
from packhorse.domain.text import JsonText, dumps
from packhorse.domain.users import User
from packhorse.engine.requests.kbase.access import Access, Caller
from packhorse.engine.requests.kbase.context import KBaseContext
from packhorse.engine.requests.kbase.dates import ALL, jobs_made
from packhorse.engine.requests.kbase.joblogs import JobLogs
from packhorse.engine.requests.kbase.lookup import Lookup, all_of, exclude_of
from packhorse.engine.requests.kbase.methods import Methods
from packhorse.engine.requests.kbase.reporting import HELD, Reporting
from packhorse.engine.requests.kbase.running import Running
from packhorse.engine.requests.kbase.services import Catalog, Workspaces
from packhorse.engine.requests.kbase.states import State
from packhorse.engine.requests.service import Service
from packhorse.engine.sealing import Seal
from packhorse.http.client import Http
from packhorse.store.kbase.runs import BATCH_INDEX, runs_by_seq, runs_made, sealed_token, sizes_of
from packhorse.store.runs import seqs_of
from packhorse.store.schema import TASKS_PER_RUN

_SERVICE_S = 15.0  # for each wait for a service of KBase

Said = Mapping[str, Any]


class KBase:
    """KBase's execution engine over a service. ``seal`` keeps the tokens of jobs."""

    def __init__(self, service: Service, config: KBaseConfig, seal: Seal) -> None:
        http = Http(timeout_s=_SERVICE_S)
        self.config = config
        self.context = KBaseContext(
            service.database,
            service.steps,
            service.sites,
            service.submissions,
            Methods(service.catalog),
            Workspaces(config, http),
            Catalog(config, http),
            config,
            seal,
            lambda: service.limits,
            service.wake,
        )
        self.lookup = Lookup(service.database, service.steps, service.estimating)
        self.logs = JobLogs(service.database, service.sites)

    def of_caller(self, user: User, token: str) -> KBaseCaller:
        """What a user may ask for, with the token that they asked with."""
        return KBaseCaller(self, Caller(user, token))

    def of_job(self, secret: str, task: int) -> tuple[KBaseCaller, int, Any]:
        """(what a running job may ask for, its task, its run), by the secret that it was told. Raises NotFound."""
        refused = NotFound("There is no such job, or it is over.")
        seq = task // TASKS_PER_RUN
        with self.context.database.read() as connection:
            run = runs_by_seq(connection, [seq]).get(seq)
            sealed = sealed_token(connection, seq) if run is not None else None
        if run is None or sealed is None:
            raise refused
        kept = self.context.seal.open(sealed)
        if not _same(kept.get("callback", ""), secret):
            raise refused
        return self.of_caller(User(run.user), kept["token"]), task, run


class KBaseCaller:
    """EE2's methods for one caller. Every one checks what the caller may do, and raises refusals in EE2's words."""

    def __init__(self, kbase: KBase, caller: Caller) -> None:
        self.kbase, self.caller = kbase, caller
        self._database = kbase.context.database
        self._access = Access(caller, kbase.context.workspaces)
        self._reporting = Reporting(kbase.context, self._access, kbase.lookup)
        self.running = Running(kbase.context, self._access)

    # --- starting ------------------------------------------------------------

    def run_job(self, params: Any) -> str:
        """One job; its id."""
        return self.running.run_job(params)

    def run_job_concierge(self, params: Any, asked: Any) -> str:
        """One job for which the concierge asks what only admins may; its id."""
        return self.running.run_job_concierge(params, asked)

    def run_job_batch(self, params: Any, batch: Any = None) -> State:
        """Jobs that belong together: they are one run."""
        batch_id, children = self.running.run_job_batch(params, batch)
        return {"batch_id": batch_id, "child_job_ids": children}

    def retry_job(self, said: Said) -> State:
        """A job once more, with the same app and the same requirements."""
        job = said.get("job_id")
        return {"job_id": job, "retry_id": self.running.retry_job(job, as_admin=_as_admin(said))}

    def retry_jobs(self, said: Said) -> list[State]:
        """Several, each by itself."""
        jobs = said.get("job_ids")
        answers = self.running.retry_jobs(jobs, as_admin=_as_admin(said))
        return [_retried(job, answer) for job, answer in zip(jobs or (), answers, strict=True)]

    # --- reading ------------------------------------------------------------

    def check_job(self, said: Said) -> State:
        """The state of one job; raises NotFound where there is none."""
        job = said.get("job_id")
        if not job:
            raise InvalidRequest("Please provide valid job_id")
        state = self._checked([job], said)[str(job)]
        if "failure" in state and state["failure"] == not_found(str(job)).message:
            raise not_found(str(job))
        return state

    def check_jobs(self, said: Said) -> JsonText:
        """The states of jobs."""
        jobs = said.get("job_ids")
        if not isinstance(jobs, list):
            raise InvalidRequest("'job_ids' must be a list of job ids")
        texts = self._texts(jobs, said)
        if not texts:
            return JsonText("{}")
        wanted = said.get("return_list")
        if wanted is None or truth(wanted):
            return JsonText(f'{{"job_states":[{",".join(texts.values())}]}}')
        return JsonText(f"{{{','.join(f'{dumps(job)}:{text}' for job, text in texts.items())}}}")

    def job_states(self, jobs: list[Any]) -> dict[str, State]:
        """The whole states of jobs, by id."""
        return self._checked(jobs, {})

    def check_job_batch(self, said: Said) -> JsonText:
        """The states of a batch and of its jobs."""
        job = said.get("job_id")
        with self._database.read() as connection:
            task, run = self._access.require(connection, job, write=False, as_admin=_as_admin(said))
            if task % TASKS_PER_RUN != BATCH_INDEX or not run.batch:
                raise InvalidRequest("This job is not a batch job")
        batch = self._checked([job], {**said, "exclude_fields": None})[str(job)]
        children = ",".join(self._texts(batch["child_jobs"], said).values())
        shown = {name: value for name, value in batch.items() if name not in exclude_of(said.get("exclude_fields"))}
        return JsonText(f'{{"batch_jobstate":{dumps(shown)},"child_jobstates":[{children}]}}')

    def check_workspace_jobs(self, said: Said) -> State:
        """The states of all jobs of a workspace."""
        wsid = wsid_of(said.get("workspace_id"))
        if wsid is None:
            raise InvalidRequest("Please provide valid workspace_id")
        exclude = exclude_of(said.get("exclude_fields"))
        states = self.kbase.lookup.of_workspace(wsid, self._access, exclude, as_admin=_as_admin(said))
        return _listed(states, said)

    def check_jobs_date_range(self, said: Said, *, for_all: bool) -> State:
        """The jobs made in a time."""
        user = ALL if for_all else said.get("user")
        if user is not None and not isinstance(user, str):
            raise InvalidRequest("'user' must be a name")
        return jobs_made(self._database, self.kbase.lookup, self._access, said, user)

    def check_job_canceled(self, said: Said) -> State:
        """Whether a job is over, and whether it was canceled."""
        status = self._status(said)
        return {
            "job_id": said.get("job_id"),
            "finished": status in OVER,
            "canceled": status == Status.TERMINATED,
        }

    def get_job_status(self, said: Said) -> State:
        """The word for where a job is."""
        return {"status": self._status(said)}

    def get_job_params(self, said: Said) -> State:
        """What a job was asked for with."""
        state = self._readable(said, ())
        asked = state["job_input"]
        names = ("method", "params", "service_ver", "app_id", "wsid", "parent_job_id", "source_ws_objects")
        return {name: asked.get(name) for name in names}

    # --- reporting ------------------------------------------------------------

    def start_job(self, said: Said) -> None:
        """A job's runner has begun."""
        self._reporting.start_job(said.get("job_id"), as_admin=_as_admin(said))

    def update_job_status(self, said: Said) -> str:
        """A status that a job is said to have."""
        if not said.get("job_id") or not said.get("status"):
            raise InvalidRequest("Please provide both job_id and status")
        return self._reporting.update_job_status(said["job_id"], said["status"], as_admin=_as_admin(said))

    def finish_job(self, said: Said) -> None:
        """A job's runner has a result, or an error."""
        self._reporting.finish_job(said.get("job_id"), said, as_admin=_as_admin(said))

    def cancel_job(self, said: Said) -> None:
        """Ends a job, or all of a batch."""
        self._reporting.cancel_job(said.get("job_id"), said.get("terminated_code"), as_admin=_as_admin(said))

    def handle_held_job(self, cluster_id: Any) -> State:
        """A job that its scheduler holds is in error; one that is over stays as it is. ``cluster_id`` is what states
        have as ``scheduler_id``.
        """
        self._access.require_admin(write=True)
        job = self._of_scheduler(cluster_id)
        try:
            self._reporting.finish_job(job, HELD, as_admin=True)
            self.add_job_logs({"job_id": job, "as_admin": True}, [{"line": HELD["error"]["message"], "is_error": 1}])
        except Conflict:
            pass
        return {"_id": job, **self.check_job({"job_id": job, "as_admin": True})}

    def abandon_children(self, said: Said) -> State:
        """A batch does not count some of its jobs any more."""
        children = said.get("child_job_ids")
        return self._reporting.abandon_children(said.get("batch_id"), children, as_admin=_as_admin(said))

    # --- logs ------------------------------------------------------------

    def add_job_logs(self, said: Said, lines: Any) -> State:
        """Appends lines to a job's log."""
        with self._database.read() as connection:
            task, _ = self._access.require(connection, said.get("job_id"), write=True, as_admin=_as_admin(said))
        return {"success": True, "line_number": self.kbase.logs.add(task, lines)}

    def get_job_logs(self, said: Said) -> State:
        """Lines of a job's log from a number on."""
        job = said.get("job_id")
        skip, limit = _number(said, "skip_lines"), _number(said, "limit")
        if (offset := _number(said, "offset")) is not None:
            if skip is not None and skip != offset:
                raise InvalidRequest("Please provide only one of skip_lines or offset")
            skip = offset
        with self._database.read() as connection:
            task, _ = self._access.require(connection, job, write=False, as_admin=_as_admin(said))
        missing = NotFound(f"Cannot find job log with id: {job}")
        page = self.kbase.logs.page(task, skip or 0, limit, lambda: missing)
        return {"lines": page.lines, "last_line_number": page.following, "count": page.count}

    # --- who one is ------------------------------------------------------------

    def is_admin(self) -> int:
        """1 for an admin."""
        return int(self.caller.user.admin)

    def get_admin_permission(self) -> State:
        """r, w or n."""
        user = self.caller.user
        may_read = POLICY.allows(user, Action.SEE_ALL)
        return {"permission": "w" if POLICY.allows(user, Action.MANAGE) else "r" if may_read else "n"}

    # --- parts ------------------------------------------------------------

    def _checked(self, jobs: list[Any], said: Said) -> dict[str, State]:
        exclude = exclude_of(said.get("exclude_fields"))
        return self.kbase.lookup.by_id(jobs, self._access, exclude, as_admin=_as_admin(said))

    def _texts(self, jobs: list[Any], said: Said) -> dict[str, str]:
        exclude = exclude_of(said.get("exclude_fields"))
        return self.kbase.lookup.texts_by_id(jobs, self._access, exclude, as_admin=_as_admin(said))

    def _readable(self, said: Said, exclude: tuple[str, ...]) -> State:
        """The state of a job that the caller may see. Raises NotFound, NotAllowed."""
        job = said.get("job_id")
        with self._database.read() as connection:
            task, run = self._access.require(connection, job, write=False, as_admin=_as_admin(said))
        state = self.kbase.lookup.states([task], {run.run_seq: run}, exclude).get(task)
        if state is None:
            raise not_found(str(job))
        return state

    def _of_scheduler(self, cluster_id: Any) -> str:
        """The job that has this ``scheduler_id``. Raises NotFound."""
        missing = NotFound(f"Cluster id of {str(cluster_id)[:60]}")
        try:
            run_id, index = parse_task_id(cluster_id if isinstance(cluster_id, str) else "")
        except InvalidRequest:
            raise missing from None
        with self._database.read() as connection:
            seq = seqs_of(connection, [run_id]).get(run_id)
            run = runs_by_seq(connection, [seq]).get(seq) if seq is not None else None
        if run is None or index >= BATCH_INDEX:
            raise missing
        return job_id(run.run_seq * TASKS_PER_RUN + index, run.created_at)

    def _status(self, said: Said) -> str:
        return str(self._readable(said, ("job_input", "job_output"))["status"])

    def task_to_read(self, job: Any) -> int:
        """The task of a job that the caller may see. Raises NotFound, NotAllowed."""
        with self._database.read() as connection:
            return self._access.require(connection, job, write=False)[0]

    def own_jobs(self, most: int) -> list[State]:
        """The states of the caller's newest jobs that belong to no workspace, newest first."""
        with self._database.read() as connection:
            rows = runs_made(connection, self.caller.name, 0, time.time() + 1, most, ascending=False)
            runs = {row.run_seq: row for row in rows if row.wsid is None}
            numbers = sizes_of(connection, runs)
        wanted = sorted(all_of(runs, numbers), reverse=True)[:most]
        states = self.kbase.lookup.states(wanted, runs, ())
        return [states[task] for task in wanted]

    def run_to_read(self, job: Any) -> tuple[int, Any]:
        """(task, row of its run) of a job that the caller may see. Raises NotFound, NotAllowed."""
        with self._database.read() as connection:
            return self._access.require(connection, job, write=False)

    @staticmethod
    def job_of_run(run: Any) -> str:
        """The job that stands for a batch, or the only one of a run."""
        return job_id(run.run_seq * TASKS_PER_RUN + (BATCH_INDEX if run.batch else 0), run.created_at)

    def task_to_change(self, job: Any) -> int:
        """The task of a job that the caller may change. Raises NotFound, NotAllowed."""
        with self._database.read() as connection:
            return self._access.require(connection, job, write=True)[0]


def _listed(states: Mapping[str, State], said: Said) -> State:
    """A list, unless a mapping is asked for."""
    wanted = said.get("return_list")
    if not states:
        return {}
    return {"job_states": list(states.values())} if wanted is None or truth(wanted) else dict(states)


def _retried(job: Any, answer: str | PackhorseError) -> State:
    if isinstance(answer, PackhorseError):
        return {"job_id": job, "error": answer.message}
    return {"job_id": job, "retry_id": answer}


def _as_admin(said: Said) -> bool:
    return truth(said.get("as_admin"))


def _number(said: Said, name: str) -> int | None:
    value = said.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53):
        raise InvalidRequest(f"'{name}' must be an integer of 0 or more")
    return value


def _same(known: str, given: str) -> bool:
    return bool(known) and hmac.compare_digest(known.encode(), given.encode("utf-8", "replace"))
