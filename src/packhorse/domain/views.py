"""What front doors show of runs and tasks. Times are seconds since the epoch, sizes bytes, durations seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from packhorse.domain.app import AppManifest
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.states import FAILED, TERMINAL, TaskState
from packhorse.domain.text import holdable

Item = TypeVar("Item")

#: Text of which parts are not ours, such as paths.
Shown = Annotated[str, BeforeValidator(lambda text: holdable(text) if isinstance(text, str) else text)]


class View(BaseModel):
    model_config = ConfigDict(defer_build=True)  # most commands use one or two of them


class Page(View, Generic[Item]):
    """One page of a listing; ask again with ``next_cursor`` until it is None."""

    items: list[Item]
    next_cursor: str | None = None


class StepView(View):
    """A step of a run and how far it is; ``tasks`` is None until the list is known that they come from."""

    name: str
    site: str
    tasks: int | None
    counts: dict[TaskState, int]
    """Tasks by state."""
    waits_for: str | None = None
    """What tasks of it wait for that could not start now, such as: 3 tasks of 'align'."""
    without: str | None = None
    """What it gathered without, since these did not complete, such as: 2 tasks of 'align'."""

    @property
    def done(self) -> int:
        return sum(number for state, number in self.counts.items() if state in TERMINAL)

    @property
    def failed(self) -> int:
        return sum(number for state, number in self.counts.items() if state in FAILED)

    @property
    def ended(self) -> bool:
        return self.tasks is not None and self.done == self.tasks


class RunView(View):
    """A run and how far it is."""

    id: str
    user: str
    name: str
    app: str
    """NAME@VERSION; empty for tasks without an app."""
    created_at: float
    ended_at: float | None
    retry_of: str | None
    """The run whose failures this one runs again."""
    tasks: int
    """How many there are, the gathering task among them."""
    counts: dict[TaskState, int]
    """Tasks by state."""
    steps: list[StepView] = []
    """Of a run that is looked at by itself."""
    notes: list[str] = []
    """What its user should know of how its table was read; in the answer to a submission only."""

    @property
    def done(self) -> int:
        return sum(number for state, number in self.counts.items() if state in TERMINAL)

    @property
    def failed(self) -> int:
        return sum(number for state, number in self.counts.items() if state in FAILED)

    @property
    def ended(self) -> bool:
        return self.ended_at is not None


class TaskView(View):
    """A task in a listing. ``reason`` says why it waits, or why it ended as it did."""

    id: str
    index: int
    name: str | None
    step: str
    """The step of its run that it belongs to."""
    state: TaskState
    params: dict[str, Any] | None
    """The values that it runs with, defaults included; null for a TES task and a gathering task."""
    attempt: int
    """The number of the attempt that it is at, or ended with."""
    exit_code: int | None
    failure: str | None
    """The failure's class."""
    reason: str | None
    result: Any
    """What a manifest took from stdout: text, or what JSON said."""
    started_at: float | None
    ended_at: float | None


class ExecutorView(View):
    """How one of several executors of an attempt ended."""

    exit_code: int | None
    signal: int | None
    started_at: float
    ended_at: float
    stdout: tuple[int, int] | None = None
    """Where in the attempt's stdout its own begins, and where it ends: bytes."""
    stderr: tuple[int, int] | None = None
    stdout_tail: Shown | None = None
    """The end of what it wrote to the file that its stdout went to."""
    stderr_tail: Shown | None = None


class AttemptView(View):
    """One ended try at a task: what it was granted, what it used, how it went."""

    attempt: int
    site: str | None
    allocation: str | None
    """Of the site, by our name."""
    job_id: str | None
    """The batch scheduler's."""
    node: str | None
    failure: str | None
    """The failure's class."""
    exit_code: int | None
    signal: int | None
    started_at: float | None
    ended_at: float
    wall_s: float | None
    """From the start of the command to its end."""
    cpu_s: float | None
    """User and system, of all its processes."""
    peak_memory: int | None
    """Bytes."""
    read_bytes: int | None
    write_bytes: int | None
    cores: float | None
    """Granted, on each node."""
    memory_mb: int | None
    """Granted, on each node: MB of 10⁶ bytes."""
    walltime_s: float | None
    """Granted."""
    evidence: dict[str, Any] | None
    """What a failure was judged by."""
    files: list[dict[str, Any]]
    """Outputs that were kept: path, size, and where they were delivered."""
    image: str | None = None
    """Digest of the image that it ran in."""
    executors: list[ExecutorView] = []
    """How each ended, of a TES task with several; empty where there is one."""


class EventView(View):
    """One transition of a task."""

    at: float
    attempt: int
    from_state: TaskState | None
    to_state: TaskState
    why: str | None


class DataView(View):
    """Data that a task takes by URL: which content it was given, and where that is at its site. None while it waits."""

    url: str
    version: str | None
    """Of reference data."""
    sha256: str | None
    path: str | None


class ReuseView(View):
    """Whether a task took the result of an earlier one, and why."""

    why: str
    taken_from: str | None = None
    """The task that was executed for it."""
    files: list[dict[str, Any]] = []
    """The outputs that it took."""
    nearest: str | None = None
    """The earlier task that is most like it, where none has its key."""
    differs: list[str] = []
    """What differs from that one."""


class TaskDetail(TaskView):
    """All that is known of a task: its TES document as rendered, its attempts and its transitions."""

    document: dict[str, Any]
    attempts: list[AttemptView]
    events: list[EventView]
    data: list[DataView] = []
    reuse: ReuseView | None = None
    """None where its run asked for no results of earlier ones."""
    from_history: dict[str, str] = {}
    """Its values that come from earlier runs, each with how."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """A piece of a task's stdout or stderr. ``ended`` says that nothing will follow ``next_offset``."""

    data: bytes
    next_offset: int
    ended: bool


class UsageView(View):
    """What a run used, over all ended attempts.

    ``paid_…`` is its share of what its allocations paid, ``failed_core_s`` the part of that which went to attempts that
    failed.
    """

    tasks: int
    attempts: int
    """Ended ones."""
    reused: int = 0
    """Tasks that took the result of an earlier one."""
    core_s: float
    """Granted: cores on all nodes, times wall time."""
    paid_core_s: float
    """The run's share of what its allocations paid, in core-seconds."""
    paid_node_s: float
    """The same in node-seconds."""
    failed_core_s: float
    """Of what was paid, the part of attempts that failed."""
    cpu_s: float
    """Used, user and system."""
    wall_s: float
    """Sum over attempts."""
    peak_memory: int
    """Of one task, at the most."""
    read_bytes: int
    write_bytes: int
    elapsed_s: float | None
    """From the first start to the last end."""
    tasks_per_s: float | None


class AccountBy(StrEnum):
    """What the lines of an account stand for."""

    SITE = "site"
    USER = "user"
    APP = "app"


class AccountLine(View):
    """What allocations paid for one site, user or app, over all ended attempts.

    A task counts where its first attempt was.

    The last four are told to admins only, of sites and of the total: paid = used + idle + unsettled.
    """

    name: str
    tasks: int
    attempts: int
    failed: int
    """Attempts."""
    granted_core_s: float
    """Cores on all nodes, times wall time."""
    used_core_s: float
    """The share of what was paid: what was granted, or less where clocks had it that more was granted than there was.
    """
    used_node_s: float
    failed_core_s: float
    """Of what was used, the part of attempts that failed."""
    cpu_s: float
    paid_core_s: float | None = None
    paid_node_s: float | None = None
    idle_core_s: float | None = None
    unsettled_core_s: float | None = None
    """Of allocations that still run: idle, or used by tasks that have not ended."""


class Account(View):
    """Who used what allocations paid: those that ended after ``since`` (None: ever), and those that run, up to
    ``until``.
    """

    since: float | None
    until: float
    total: AccountLine
    by: dict[AccountBy, list[AccountLine]]


class AppView(View):
    """An app that can be run by its name."""

    name: str
    version: str
    title: str
    description: str
    manifest: AppManifest | PipelineManifest


class QueueView(View):
    """What one allocation can have in a queue, by one kind of node; sizes are per node, None is no limit."""

    name: Shown | None
    nodes: int
    """In one allocation, at most."""
    cores: int
    memory_gb: float
    gpus: int
    walltime_s: float | None


class ImageView(View):
    """An image at a site, or on its way there. Sizes are bytes; ``download_bytes`` are its layers, compressed."""

    site: str
    reference: str
    """As the run named it."""
    digest: str
    state: str
    """WANTED, COPYING, CONVERTING, READY or FAILED."""
    download_bytes: int
    done_bytes: int
    """Of the step that is under way."""
    size_bytes: int | None
    failure: str | None
    """The failure's kind."""
    error: str | None
    """The failure in words."""
    preparations: int
    """How often one was begun."""
    started_at: float | None
    ready_at: float | None
    last_used_at: float
    waiting_runs: int
    """Runs that have not ended and want it."""


class SiteView(View):
    """A place where tasks run, and what it has of ours. ``problem`` says why its queues are not known."""

    name: str
    root: Shown
    queues: list[QueueView]
    problem: Shown | None
    allocations: dict[str, int]
    """Live allocations by state."""


class Check(View):
    """One line of ``packhorse doctor``: ``hint`` says what to do when it is not ok."""

    name: str
    ok: bool
    detail: Shown
    hint: Shown = ""
