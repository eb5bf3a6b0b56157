"""What Slurm's job states mean: where a job is, and what the end of an allocation means for tasks that it had running.

Pure tables.

States and flags of Slurm 22.05 to 25.11 (https://slurm.schedmd.com/job_state_codes.html). A state that is not here is
UNKNOWN, with its name as evidence; it is never taken for an end, let alone for a success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packhorse.domain.failures import FailureClass
from packhorse.sites.base import JobState

_P, _R, _E = JobState.PENDING, JobState.RUNNING, JobState.ENDED

#: Every job has exactly one of these.
BASE_STATES: dict[str, JobState] = {
    "PENDING": _P,
    "RUNNING": _R,
    "SUSPENDED": _R,  # holds its nodes; its agents will go on
    "COMPLETED": _E,
    "CANCELLED": _E,
    "FAILED": _E,
    "TIMEOUT": _E,
    "NODE_FAIL": _E,
    "PREEMPTED": _E,
    "BOOT_FAIL": _E,
    "DEADLINE": _E,
    "OUT_OF_MEMORY": _E,
}

#: A job may have some of these as well; what they say wins, in this order. Text forms show one of them instead of the
#: base state.
FLAGS: dict[str, JobState] = {
    "REQUEUED": _P,  # in accounting: the row of an earlier try
    "REQUEUE_FED": _P,
    "REQUEUE_HOLD": _P,
    "SPECIAL_EXIT": _P,  # requeued, and held for somebody to look at
    "RESV_DEL_HOLD": _P,  # held: its reservation was deleted
    "EXPEDITING": _P,  # 25.11: being looked at for an expedited requeue
    "COMPLETING": _R,  # ending, but some of its processes are still there, and may still write
    "STAGE_OUT": _R,
    "SIGNALING": _R,
    "CONFIGURING": _R,  # has its nodes, which are being made ready
    "POWER_UP_NODE": _R,
    "RESIZING": _R,
    "STOPPED": _R,
    "REVOKED": _E,  # a sister cluster of a federation took it
    "LAUNCH_FAILED": _E,
    "RECONFIG_FAIL": _E,
}

#: Flags that say nothing of where a job is.
SILENT_FLAGS = frozenset({"UPDATE_DB"})


_STATES = BASE_STATES.keys() | FLAGS.keys() | SILENT_FLAGS


def parse_state(text: str) -> tuple[str, ...]:
    """The state names in a field of squeue or sacct:

    ``CANCELLED by 0`` → CANCELLED; ``OUT_OF_ME+`` was cut; ``A,B`` are several.
    """
    said, cut = text.strip().upper().split(" BY ")[0], ""
    if said.endswith("+"):  # for want of room; of a word that could be several, nobody knows which
        said, _, cut = f",{said[:-1]}".replace("+", ",").rpartition(",")
        whole = {cut} & _STATES or {name for name in _STATES if name.startswith(cut)}
        cut = whole.pop() if len(whole) == 1 else f"{cut}+"
    return tuple(word.strip() for word in [*said.replace("+", ",").split(","), cut] if word.strip())


def job_state(states: Sequence[str]) -> JobState:
    """What these states of a job come to."""
    for flag, meaning in FLAGS.items():
        if flag in states:
            return meaning
    known = {BASE_STATES[state] for state in states if state in BASE_STATES}
    return known.pop() if len(known) == 1 else JobState.UNKNOWN


@dataclass(frozen=True, slots=True)
class AllocationEnd:
    """What the end of an allocation means for a task that it was running: a failure class, and a sentence for its
    user.
    """

    failure: FailureClass
    message: str


_NODE_LOST = AllocationEnd(FailureClass.NODE_LOST, "Its agent ended before the task did.")

_ENDS: dict[str, AllocationEnd] = {
    "COMPLETED": _NODE_LOST,
    "FAILED": _NODE_LOST,
    "NODE_FAIL": AllocationEnd(FailureClass.NODE_LOST, "A node of its allocation failed."),
    "BOOT_FAIL": AllocationEnd(FailureClass.NODE_LOST, "A node of its allocation did not boot."),
    "LAUNCH_FAILED": AllocationEnd(FailureClass.NODE_LOST, "A node of its allocation could not start the job."),
    "RECONFIG_FAIL": AllocationEnd(FailureClass.NODE_LOST, "A node of its allocation could not be configured."),
    "OUT_OF_MEMORY": AllocationEnd(FailureClass.OUT_OF_MEMORY, "Its allocation went over the memory that the job had."),
    "TIMEOUT": AllocationEnd(FailureClass.PREEMPTED, "Its allocation reached its time limit."),
    "DEADLINE": AllocationEnd(FailureClass.PREEMPTED, "Its allocation reached its deadline."),
    "PREEMPTED": AllocationEnd(
        FailureClass.PREEMPTED, "The site took its allocation away for a job of higher priority."
    ),
    "CANCELLED": AllocationEnd(FailureClass.PREEMPTED, "Somebody cancelled its allocation at the site."),
    "REQUEUED": AllocationEnd(FailureClass.PREEMPTED, "The site requeued its allocation."),
    "REVOKED": AllocationEnd(FailureClass.SCHEDULER, "The batch scheduler gave its allocation to another cluster."),
}


def end_of(native_state: str) -> AllocationEnd:
    """What it means that an allocation ended in ``native_state`` (as ``JobStatus.native_state`` has it)."""
    states = parse_state(native_state)
    for name, end in _ENDS.items():
        if name in states:
            return end
    return AllocationEnd(
        FailureClass.NODE_LOST, f"Its allocation is gone, and nobody knows how it ended ({native_state or 'no state'})."
    )
