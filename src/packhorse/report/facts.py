"""What a report says of a run, as plain values. Times are seconds since the epoch, sizes bytes, durations seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packhorse.domain.states import FAILED, TERMINAL, TaskState
from packhorse.report.sketch import Sketch
from packhorse.report.timeline import Timeline

MOST_PAIRS = 200


@dataclass(frozen=True, slots=True)
class AppFacts:
    """An app that steps run: ``digest`` is the SHA-256 of its folder."""

    name: str
    version: str
    digest: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class AskedFacts:
    """What ``tasks`` of a step asked for, each on every node that it spans; after a failure that may be more than at
    first.
    """

    tasks: int
    cores: float
    nodes: int
    memory_mb: int | None
    walltime_s: float | None
    gpus: int


@dataclass(slots=True)
class Spent:
    """Where core-seconds, or GB-seconds, went that attempts were granted: used, granted and left unused, or granted to
    attempts that failed.
    """

    used: float = 0.0
    unused: float = 0.0
    failed: float = 0.0

    @property
    def granted(self) -> float:
        return self.used + self.unused + self.failed

    @property
    def wasted(self) -> float:
        return self.unused + self.failed

    def add(self, granted: float, used: float, *, failed: bool) -> None:
        """One attempt; it cannot have used more than it was granted for that to be told as waste."""
        if failed:
            self.failed += granted
        else:
            self.used += min(used, granted)
            self.unused += max(0.0, granted - used)


@dataclass(slots=True)
class Pairs:
    """What attempts were granted (or predicted to use) and used of one thing, each with whether it failed: of many,
    some, equally spread.
    """

    kept: list[tuple[float, float, bool]] = field(default_factory=list)
    each: int = 1
    """One of so many is kept."""
    seen: int = 0

    def add(self, granted: float, used: float, *, failed: bool) -> None:
        """One more attempt."""
        if self.seen % self.each == 0:
            self.kept.append((granted, used, failed))
            if len(self.kept) > MOST_PAIRS:
                self.kept, self.each = self.kept[::2], 2 * self.each
        self.seen += 1


@dataclass(slots=True)
class Measured:
    """What the ended attempts of a step were granted and used, on all nodes together."""

    attempts: int = 0
    failed: int = 0
    wall_s: Sketch = field(default_factory=Sketch)
    cores_used: Sketch = field(default_factory=Sketch)
    """Of each attempt: CPU time by wall time."""
    peak_memory: Sketch = field(default_factory=Sketch)
    cores_granted: Sketch = field(default_factory=Sketch)
    memory_granted: Sketch = field(default_factory=Sketch)
    """Bytes; of those that had a limit."""
    walltime_granted: Sketch = field(default_factory=Sketch)
    core_s: Spent = field(default_factory=Spent)
    gb_s: Spent = field(default_factory=Spent)
    """Of attempts whose memory had a limit; used: the peak, as if it was needed all the time."""
    memory: Pairs = field(default_factory=Pairs)
    """Bytes; of those whose memory had a limit."""
    time: Pairs = field(default_factory=Pairs)
    """Seconds; of those whose time had a limit."""
    predicted_memory: Pairs = field(default_factory=Pairs)
    """Bytes: the median by which an attempt was sized, and what it used; of those that were sized by earlier ones."""
    predicted_time: Pairs = field(default_factory=Pairs)
    """The same in seconds."""
    cpu_s: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0


@dataclass(slots=True)
class OutputFacts:
    """The files that completed tasks of a step left."""

    files: int = 0
    bytes: int = 0
    examples: list[Mapping[str, Any]] = field(default_factory=list)
    """A few of them: task, path, size, and url and sha256 where they were delivered."""


@dataclass(slots=True)
class StepFacts:
    """A step; ``number`` is its place in the run. ``tasks`` is None until the list is known that they come from."""

    number: int
    name: str
    site: str
    kind: str
    """How its tasks come to be, in a word or two."""
    tasks: int | None
    counts: Mapping[TaskState, int]
    app: AppFacts | None
    image: str | None
    asked: Sequence[AskedFacts]
    measured: Measured = field(default_factory=Measured)
    outputs: OutputFacts = field(default_factory=OutputFacts)

    @property
    def complete(self) -> int:
        return self.counts.get(TaskState.COMPLETE, 0)

    @property
    def failed(self) -> int:
        return sum(number for state, number in self.counts.items() if state in FAILED)

    @property
    def ended(self) -> int:
        return sum(number for state, number in self.counts.items() if state in TERMINAL)


@dataclass(frozen=True, slots=True)
class EdgeFacts:
    """Step ``downstream`` (a number) waits for ``upstream``; ``kind`` is gather, each, items or tasks."""

    upstream: int
    downstream: int
    kind: str


@dataclass(frozen=True, slots=True)
class Example:
    """One of several failures that are alike."""

    task: str
    name: str | None
    attempt: int
    node: str | None
    allocation: str | None
    ended_at: float | None
    message: str
    evidence: Mapping[str, Any]
    """What it was judged by; empty where the task had no attempt."""


@dataclass(slots=True)
class FailureFacts:
    """Failures of one class in one step, with one exit code or signal."""

    step: int
    failure: str
    exit_code: int | None
    signal: int | None
    attempts: int
    """That ended so; 0: tasks that were never tried."""
    tasks: int
    """That ended so for good."""
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image that the run wants; the digest is None until its registry has said it."""

    reference: str
    site: str
    digest: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Data that ``tasks`` of the run took by URL; ``sha256`` is of the content that they were given."""

    url: str
    version: str
    site: str
    sha256: str | None
    size: int | None
    tasks: int


@dataclass(frozen=True, slots=True)
class Again:
    """The commands that run it again, and what has to be known for that."""

    commands: Sequence[str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All of it."""

    id: str
    user: str
    name: str
    app: str
    created_at: float
    ended_at: float | None
    retry_of: str | None
    made_at: float
    version: str
    """Of Packhorse."""
    steps: Sequence[StepFacts]
    edges: Sequence[EdgeFacts]
    timeline: Timeline
    failures: Sequence[FailureFacts]
    images: Sequence[ImageFacts]
    data: Sequence[DataFacts]
    data_left_out: int
    again: Again
    task_graph: tuple[Sequence[StepFacts], Sequence[EdgeFacts]] | None = None
    """Of TES documents with edges of their own, while they are few: each task as if it was a step."""
    estimated: int = 0
    """Attempts that were granted what such tasks are estimated to need."""
    paid_core_s: float = 0.0
    """The run's share of what its allocations paid."""

    @property
    def tasks(self) -> int:
        return sum(sum(step.counts.values()) for step in self.steps)

    @property
    def counts(self) -> dict[TaskState, int]:
        found: dict[TaskState, int] = {}
        for step in self.steps:
            for state, number in step.counts.items():
                found[state] = found.get(state, 0) + number
        return {state: found[state] for state in TaskState if state in found}
