"""What front doors show of runs and tasks. Times are seconds since the epoch, sizes bytes, durations seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from packhorse.domain.app import AppManifest
from packhorse.domain.states import FAILED, TERMINAL, TaskState

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. ``admin`` may see and cancel everybody's runs."""

    name: str
    admin: bool = False


class Page(BaseModel, Generic[Item]):
    """One page of a listing; ask again with ``next_cursor`` until it is None."""

    items: list[Item]
    next_cursor: str | None = None


class RunView(BaseModel):
    """A run and how far it is."""

    id: str
    user: str
    name: str
    app: str
    created_at: float
    ended_at: float | None
    retry_of: str | None
    tasks: int
    counts: dict[TaskState, int]

    @property
    def done(self) -> int:
        return sum(number for state, number in self.counts.items() if state in TERMINAL)

    @property
    def failed(self) -> int:
        return sum(number for state, number in self.counts.items() if state in FAILED)

    @property
    def ended(self) -> bool:
        return self.ended_at is not None


class TaskView(BaseModel):
    """A task in a listing. ``reason`` says why it waits, or why it ended as it did."""

    id: str
    index: int
    name: str | None
    role: str
    state: TaskState
    params: dict[str, Any] | None
    attempt: int
    exit_code: int | None
    failure: str | None
    reason: str | None
    result: Any
    started_at: float | None
    ended_at: float | None


class AttemptView(BaseModel):
    """One ended try at a task: what it was granted, what it used, how it went."""

    attempt: int
    site: str | None
    allocation: str | None
    job_id: str | None
    node: str | None
    failure: str | None
    exit_code: int | None
    signal: int | None
    started_at: float | None
    ended_at: float
    wall_s: float | None
    cpu_s: float | None
    peak_memory: int | None
    read_bytes: int | None
    write_bytes: int | None
    cores: float | None
    memory_mb: int | None
    walltime_s: float | None
    evidence: dict[str, Any] | None
    files: list[dict[str, Any]]


class EventView(BaseModel):
    """One transition of a task."""

    at: float
    attempt: int
    from_state: TaskState | None
    to_state: TaskState
    why: str | None


class TaskDetail(TaskView):
    """All that is known of a task: its TES document as rendered, its attempts and its transitions."""

    document: dict[str, Any]
    attempts: list[AttemptView]
    events: list[EventView]


@dataclass(frozen=True, slots=True)
class LogPart:
    """A piece of a task's stdout or stderr. ``ended`` says that nothing will follow ``next_offset``."""

    data: bytes
    next_offset: int
    ended: bool


class UsageView(BaseModel):
    """What a run (or all runs of a user) used, over all ended attempts."""

    tasks: int
    attempts: int
    core_s: float
    cpu_s: float
    wall_s: float
    peak_memory: int
    read_bytes: int
    write_bytes: int
    elapsed_s: float | None
    tasks_per_s: float | None


class AppView(BaseModel):
    """An app that can be run by its name."""

    name: str
    version: str
    title: str
    description: str
    manifest: AppManifest


class Check(BaseModel):
    """One line of ``packhorse doctor``: ``hint`` says what to do when it is not ok."""

    name: str
    ok: bool
    detail: str
    hint: str = ""
