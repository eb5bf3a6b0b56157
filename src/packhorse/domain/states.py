"""The one state machine of a Task.

State names are those of GA4GH TES 1.1; nothing outside this module decides what is legal.
"""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task is. A task ends in exactly one of the terminal states and never leaves it."""

    QUEUED = "QUEUED"
    """Accepted; waits for upstream tasks, for its turn, for back-off after a failed attempt, or for a site."""
    INITIALIZING = "INITIALIZING"
    """In a block of an allocation's bundle; its images and inputs are ready."""
    RUNNING = "RUNNING"
    """An agent started it."""
    COMPLETE = "COMPLETE"
    """Every executor ended with exit code 0 and all declared outputs exist: its own, or of an earlier task like it."""
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    """The task itself failed: exit code, memory limit, walltime."""
    SYSTEM_ERROR = "SYSTEM_ERROR"
    """Packhorse, the site, or an upstream task failed it."""
    CANCELING = "CANCELING"
    """Cancel was asked for while it was at a site; it will be CANCELED, whatever it does meanwhile."""
    CANCELED = "CANCELED"
    """Canceled by a user."""
    PREEMPTED = "PREEMPTED"
    """The site took its resources away more often than the retry policy allows."""


S = TaskState

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    # to COMPLETE: the result of an earlier task was taken
    S.QUEUED: frozenset({S.INITIALIZING, S.COMPLETE, S.CANCELED, S.SYSTEM_ERROR}),
    # back to QUEUED: given back unstarted, or the attempt is retried
    S.INITIALIZING: frozenset({S.RUNNING, S.QUEUED, S.CANCELING, S.SYSTEM_ERROR}),
    S.RUNNING: frozenset({S.COMPLETE, S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.PREEMPTED, S.QUEUED, S.CANCELING}),
    S.CANCELING: frozenset({S.CANCELED}),
    S.COMPLETE: frozenset(),
    S.EXECUTOR_ERROR: frozenset(),
    S.SYSTEM_ERROR: frozenset(),
    S.CANCELED: frozenset(),
    S.PREEMPTED: frozenset(),
}

TERMINAL = frozenset(state for state, targets in TRANSITIONS.items() if not targets)
FAILED = TERMINAL - {S.COMPLETE, S.CANCELED}
AT_SITE = frozenset({S.INITIALIZING, S.RUNNING, S.CANCELING})
ACTIVE = frozenset(S) - TERMINAL


def may_move(current: TaskState, target: TaskState) -> bool:
    """Whether the state machine allows ``current`` → ``target``."""
    return target in TRANSITIONS[current]


class AllocationState(StrEnum):
    """Where an allocation (one job of a site's batch scheduler) is."""

    SUBMITTING = "SUBMITTING"
    """Its token is in the store; whether the scheduler has it is not known yet."""
    PENDING = "PENDING"
    """The scheduler has it and has not started it."""
    RUNNING = "RUNNING"
    """The scheduler started it."""
    CLOSING = "CLOSING"
    """Its agents have stopped, or were told to: it gets no more work."""
    ENDED = "ENDED"
    """It is over, and all its journals have been read."""


class DataState(StrEnum):
    """Where the data of a URL is, on its way to a site. ``staging.data`` decides how it moves."""

    QUEUED = "QUEUED"
    """To be fetched, or to be looked at whether what is there is still what it names."""
    FETCHING = "FETCHING"
    """Its bytes come."""
    VERIFYING = "VERIFYING"
    """All bytes came: checksums are compared, and it goes into the cache."""
    READY = "READY"
    """It is there."""
    FAILED = "FAILED"
    """It will not come; who waited for it has ended with the reason."""
