"""What differs between sites, behind two small interfaces: a Transport carries bytes and commands, a Scheduler owns
jobs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from packhorse.domain.errors import Unavailable
from packhorse.domain.failures import FailureClass
from packhorse.sites.environment import Purpose
from packhorse.sites.schedulers.description import Description


class SiteUnreachable(Unavailable):
    """The site does not answer now. Its tasks wait, with this as the reason; none fails."""

    code = "site_unreachable"


class SubmitRejected(Exception):
    """The batch scheduler refused a job; the message is its own.

    ``may_pass``: only for now, since too many jobs are in its queue.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command at the site ended."""

    exit_code: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """Carries commands and files to one site.

    Every method raises SiteUnreachable when the site does not answer, OSError for the rest.
    """

    is_local: bool
    """Whether the site has the files of this machine, under the same names."""

    def run(
        self, argv: list[str], *, timeout_s: float = 60.0, purpose: Purpose = Purpose.COMMAND, stdin: bytes = b""
    ) -> CommandResult:
        """Runs a command, never through a shell, in an environment that is composed for its purpose.

        ``stdin`` is all that it reads there: arguments have an end at 128 KB.
        """
        ...

    def make_folder(self, path: str, *, private: bool = False) -> None:
        """Makes a folder and its parents; one that is there is fine. ``private``: for its owner alone."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Writes a file whole: under a temporary name, then renamed, so that nobody sees half of it."""
        ...

    def append(self, path: str, data: bytes) -> None:
        """Adds to a file that only we write."""
        ...

    def put(self, source: Path, target: str) -> None:
        """Copies a local file there, whole, like ``write``."""
        ...

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """At most ``limit`` bytes from ``offset``. Raises FileNotFoundError."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none when it is not there."""
        ...

    def rename(self, source: str, target: str) -> bool:
        """Renames; False when ``source`` is not there (somebody else was quicker)."""
        ...

    def exists(self, path: str) -> bool:
        """Whether the path is there."""
        ...

    def remove(self, path: str) -> None:
        """Removes a file or a whole folder; one that is not there is fine."""
        ...

    def close(self) -> None:
        """Gives up what it holds open, for good. May be repeated."""
        ...


class JobState(StrEnum):
    """What a batch scheduler says of a job, in words that all of them share."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"
    """The scheduler has never heard of it, or says something we do not know. Never taken for success or failure."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job's state with the scheduler's own words as evidence."""

    state: JobState
    native_state: str = ""
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    nodes: str = ""
    started_at: float | None = None
    """When its nodes became ours, in seconds since the epoch by the scheduler's clock."""
    ended_at: float | None = None
    failure: FailureClass | None = None
    """What its end means for tasks that it was still running; None while it has not ended, or when that is not known.
    """
    message: str = ""
    """The same as a sentence for the tasks' users."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one allocation can have at a site, by one kind of node. Sizes are per node; None is no limit."""

    cores: int
    memory_mb: int
    nodes: int = 1
    gpus: int = 0
    walltime_s: float | None = None
    usual_walltime_s: float | None = None
    """What to ask for when nothing is known of the tasks; None asks for none."""
    whole_nodes: bool = True
    """An allocation gets its nodes for itself, so that it may as well use all of them."""
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What one allocation has.

    Sizes are per node; None: all of the node's memory, no walltime, the site's own queue.
    """

    cores: int
    memory_mb: int | None
    walltime_s: float | None = None
    nodes: int = 1
    gpus: int = 0
    queue: str | None = None
    for_one_task: bool = False
    """One task spans its nodes: a single agent starts it, on the first of them."""
    image: str | None = None
    """What the tasks that it was opened for all run in, where the scheduler sets images up; others can run in it all
    the same.
    """

    @property
    def all_cores(self) -> int:
        """Cores on all nodes together."""
        return self.nodes * self.cores

    @property
    def agents(self) -> int:
        """How many agents run in it."""
        return 1 if self.for_one_task else self.nodes


@dataclass(frozen=True, slots=True)
class Job:
    """What to submit. ``token`` finds the job again; ``script`` is the path of the batch script at the site."""

    token: str
    spool: str
    script: str
    cores: int
    memory_mb: int | None
    walltime_s: float | None
    nodes: int = 1
    gpus: int = 0
    queue: str | None = None
    options: tuple[str, ...] = ()
    """Further arguments of the submit command, for this job alone."""


#: What a launcher's words are told: ``{ranks}`` is on all nodes together.
LAUNCHER_WORDS = ("nodes", "ranks", "ranks_per_node", "cores_per_rank")


class Scheduler(Protocol):
    """Owns jobs at a site. Composes commands and parses their output; a transport carries them.

    Its methods raise SiteUnreachable when the scheduler does not answer, or says what is not understood.
    """

    name: str
    """As ``schedulers.registry`` knows it."""

    queue: str | None
    """The queue of jobs that name none; None is the scheduler's default."""

    launcher: tuple[str, ...]
    """The words before a command that start it on all ranks of a task, unless the site has its own; placeholders as
    LAUNCHER_WORDS.
    """

    signals_only_script: bool
    """Whether a job's end is announced by SIGTERM to the batch script alone, which then has to pass it on."""

    is_this_machine: bool
    """Whether its jobs are processes of this machine beside the engine: they need no queue, and start at once."""

    def submit(self, transport: Transport, job: Job) -> str:
        """Submits, and returns the job id. Raises SubmitRejected with the scheduler's words."""
        ...

    def find(self, transport: Transport, job: Job) -> str | None:
        """The id of the job that was submitted with ``job.token``; None when there is none."""
        ...

    def poll(self, transport: Transport, job_ids: Collection[str]) -> dict[str, JobStatus]:
        """The status of all jobs asked for, in one query."""
        ...

    def cancel(self, transport: Transport, job_ids: Collection[str]) -> None:
        """Ends jobs; those that are gone are fine."""
        ...

    def describe(self, transport: Transport) -> Description:
        """Its queues, their limits and their nodes: for a person, and for shaping allocations; not for every tick."""
        ...

    def agent_command(self, nodes: int, cores: int, agent: list[str]) -> list[str]:
        """What a batch script runs so that ``agent`` runs once on each of its nodes."""
        ...
