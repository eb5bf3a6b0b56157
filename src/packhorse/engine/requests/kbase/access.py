"""Who may see or change which jobs: their owner, who has rights in their workspace, and an admin who says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.access import POLICY, Action
from packhorse.domain.errors import NotAllowed
from packhorse.domain.kbase import not_found, not_writable, task_of
from packhorse.domain.users import User
from packhorse.engine.requests.kbase.services import Workspaces
from packhorse.store.kbase.runs import runs_by_seq
from packhorse.store.schema import TASKS_PER_RUN


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the token that they asked with: KBase's services are asked with it."""

    user: User
    token: str

    @property
    def name(self) -> str:
        return self.user.name


class Access:
    """The rights of one caller."""

    def __init__(self, caller: Caller, workspaces: Workspaces) -> None:
        self.caller = caller
        self._workspaces = workspaces

    def require_admin(self, *, write: bool = False) -> None:
        """Raises NotAllowed for who is none, and may not act as one; a read-only admin may not ``write``."""
        if not POLICY.allows(self.caller.user, Action.MANAGE if write else Action.SEE_ALL):
            raise NotAllowed(f"User {self.caller.name} is not an admin, and may not act as one.")

    def require_write(self, wsid: int | None) -> None:
        """Raises NotAllowed for a workspace in which the caller may run nothing."""
        if wsid is not None and wsid not in self._workspaces.writable(self.caller.name, self.caller.token, [wsid]):
            raise not_writable(self.caller.name, wsid)

    @property
    def has_workspaces(self) -> bool:
        """Whether there is a service that knows who may do what in workspaces."""
        return self._workspaces.is_there

    def may_read_workspace(self, wsid: int) -> bool:
        """Whether the caller may see what others run in a workspace."""
        return wsid in self._workspaces.readable(self.caller.name, self.caller.token, [wsid])

    def readable(self, runs: Iterable[Any], *, as_admin: bool = False) -> set[int]:
        """The ``run_seq`` of those of ``runs`` whose jobs the caller may see."""
        if as_admin:
            self.require_admin()
        rows = list(runs)
        own = {row.run_seq for row in rows if as_admin or row.user == self.caller.name}
        others = {row.wsid for row in rows if row.run_seq not in own and row.wsid is not None}
        if not others or not self._workspaces.is_there:
            return own
        seen = self._workspaces.readable(self.caller.name, self.caller.token, others)
        return own | {row.run_seq for row in rows if row.wsid in seen}

    def require(self, connection: sa.Connection, job: Any, *, write: bool, as_admin: bool = False) -> tuple[int, Any]:
        """(task, row of its run) of a job that the caller may see, or change. Raises NotFound, NotAllowed."""
        task = task_of(job)
        seq = task // TASKS_PER_RUN
        run = runs_by_seq(connection, [seq]).get(seq)
        if run is None or not is_its_id(job, run):
            raise not_found(str(job))
        if as_admin:
            self.require_admin(write=write)
        elif run.user != self.caller.name and not self._has_right(run, write=write):
            what = "write" if write else "read"
            raise NotAllowed(f"User {self.caller.name} does not have permission to {what} job {job}")
        return task, run

    def _has_right(self, run: Any, *, write: bool) -> bool:
        if run.wsid is None or not self._workspaces.is_there:
            return False
        ask = self._workspaces.writable if write else self._workspaces.readable
        return run.wsid in ask(self.caller.name, self.caller.token, [run.wsid])


def is_its_id(job: str, run: Any) -> bool:
    """Whether an id has the second in which its run was made: each job has one id."""
    return int(job[:8], 16) == int(run.created_at) & 0xFFFFFFFF
