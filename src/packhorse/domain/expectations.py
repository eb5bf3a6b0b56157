"""What tasks are expected to need, as it is shown. Sizes are MB of 10⁶ bytes, times seconds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from packhorse.domain.resources import Estimates


class _View(BaseModel):
    model_config = ConfigDict(defer_build=True)


class Expected(_View):
    """One quantity of some tasks. Intervals are of all these tasks together."""

    asked: float | None
    """What their app or their run asks for; None: nothing."""
    request: float | None
    """What would be asked for in place of it: of the task that needs most."""
    median: float | None
    """What half of them need no more than; None: nothing is known."""
    low: float | None
    """One in twenty needs less."""
    high: float | None
    """One in twenty needs more."""
    reason: str = ""


class StepExpectation(_View):
    """What the tasks of a step are expected to need."""

    step: str
    app: str
    site: str
    mode: Estimates
    """Whether it goes by this."""
    tasks: int | None
    """None: the list is not known that they come from."""
    looked_at: int
    """Of so many tasks, from all over the table."""
    history: int
    """Attempts at tasks like them that stand behind it."""
    others: bool
    """Whether these are attempts of other users, too."""
    memory_mb: Expected
    walltime_s: Expected
    cores: Expected
    core_hours: float | None
    """Of all tasks together, by the median; None: nothing is known."""
    core_hours_high: float | None


class RunExpectation(_View):
    """What a run is expected to need."""

    steps: list[StepExpectation]
    core_hours: float | None
    core_hours_high: float | None
    queue_wait_s: float | None
    """Half of the last allocations at its site waited no longer in the batch scheduler's queue; None: none is known."""
    queue_wait_high_s: float | None
    """One in twenty waited longer."""
    allocations: int
    """So many were looked at."""


class Decided(_View):
    """One quantity of one task: what was asked for, what was granted, and why."""

    asked: float | None = None
    granted: float | None = None
    request: float | None = None
    """Before it was put on the ladder of sizes."""
    median: float | None = None
    low: float | None = None
    high: float | None = None
    failure_chance: float | None = None
    history: int = 0
    reason: str = ""
    follows_grant: bool = False


class TaskEstimate(_View):
    """What was decided for an attempt at a task before it was placed; or what would be, where ``attempt`` is 0."""

    attempt: int
    why: str
    memory_mb: Decided | None = None
    walltime_s: Decided | None = None
