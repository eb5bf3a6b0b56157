"""Why a task failed: the classes, the evidence, and how an agent's verdict maps onto them.

The class decides about a retry.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from packhorse.domain.states import TaskState


class FailureClass(StrEnum):
    """One class per cause that somebody would react to differently."""

    APP = "app"
    """The program said so: exit code, signal of its own, missing or bad output."""
    OUT_OF_MEMORY = "out_of_memory"
    """It wanted more memory than its limit."""
    OUT_OF_TIME = "out_of_time"
    """It ran into its walltime."""
    NODE_LOST = "node_lost"
    """Its agent or its node died; nothing is known of how it went."""
    PREEMPTED = "preempted"
    """The site took the allocation away, or its time ended, before the task could finish."""
    IMAGE = "image"
    """Its container image could not be prepared."""
    STAGING = "staging"
    """An input could not be brought, or an output not taken."""
    SCHEDULER = "scheduler"
    """The batch scheduler refused or lost the allocation."""
    UPSTREAM = "upstream"
    """A task whose output it needs failed for good."""
    NO_SITE = "no_site"
    """No site can give what it asks for."""
    CANCELED = "canceled"
    """A user canceled it."""


#: The terminal state of a task whose last attempt failed with a class.
TERMINAL_STATE: dict[FailureClass, TaskState] = {
    FailureClass.APP: TaskState.EXECUTOR_ERROR,
    FailureClass.OUT_OF_MEMORY: TaskState.EXECUTOR_ERROR,
    FailureClass.OUT_OF_TIME: TaskState.EXECUTOR_ERROR,
    FailureClass.NODE_LOST: TaskState.SYSTEM_ERROR,
    FailureClass.PREEMPTED: TaskState.PREEMPTED,
    FailureClass.IMAGE: TaskState.SYSTEM_ERROR,
    FailureClass.STAGING: TaskState.SYSTEM_ERROR,
    FailureClass.SCHEDULER: TaskState.SYSTEM_ERROR,
    FailureClass.UPSTREAM: TaskState.SYSTEM_ERROR,
    FailureClass.NO_SITE: TaskState.SYSTEM_ERROR,
    FailureClass.CANCELED: TaskState.CANCELED,
}

#: The agent's verdict (``why`` of an ``end`` record, docs/spool.md) → class.
VERDICTS: dict[str, FailureClass] = {
    "memory": FailureClass.OUT_OF_MEMORY,
    "walltime": FailureClass.OUT_OF_TIME,
    "canceled": FailureClass.CANCELED,
    "drained": FailureClass.PREEMPTED,
    "worker": FailureClass.APP,
    "spawn": FailureClass.APP,
    "outputs": FailureClass.APP,
    "result": FailureClass.APP,
    "inputs": FailureClass.STAGING,
    "image": FailureClass.IMAGE,
    "lost": FailureClass.NODE_LOST,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a failed attempt. Sizes in bytes, times in seconds; what is not known is None."""

    message: str
    exit_code: int | None = None
    signal: int | None = None
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    wall_s: float | None = None
    walltime_limit_s: float | None = None
    node: str | None = None
    scheduler_state: str | None = None
    stderr_tail: str | None = None
    progress: int | None = None
    """Lines of its log that said so, where the app names a pattern for them."""

    def as_dict(self) -> dict[str, Any]:
        """Only what is known, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def classify(why: str | None, exit_code: int | None, signal: int | None) -> FailureClass | None:
    """The class of an ``end`` record; None when the task succeeded.

    An unknown verdict is the agent's failure, never a success.
    """
    if why is not None:
        return VERDICTS.get(why, FailureClass.NODE_LOST)
    if signal is None and exit_code == 0:
        return None
    return FailureClass.APP
