"""What Slurm prints, and what that means."""

from __future__ import annotations

from pathlib import Path

from packhorse.domain.failures import FailureClass
from packhorse.sites.base import JobState
from tests.recorded.table import Printed, Recorded, RecordedJob

_P, _R, _E = JobState.PENDING, JobState.RUNNING, JobState.ENDED
_LOST, _PREEMPTED, _MEMORY = FailureClass.NODE_LOST, FailureClass.PREEMPTED, FailureClass.OUT_OF_MEMORY

_FIRST: Printed = {"squeue": "squeue-1", "sacct": ""}
_WITH_ACCOUNTING: Printed = {"squeue": "squeue-1", "sacct": "sacct-1"}
_LATER: Printed = {"squeue": "squeue-3", "sacct": ""}
_OVER: Printed = {"squeue": "", "sacct": "sacct-2"}

TABLE = Recorded(
    Path(__file__).parent,
    accepted=[
        ({"sbatch": "sbatch-sentence"}, "1"),
        *(
            ({"sbatch": f"documented/sbatch-{form}"}, "7201")
            for form in ("sentence", "sentence-cluster", "cluster", "wrapped", "wrapped-parsable", "coloured")
        ),
    ],
    refused=[
        {"sbatch": f"sbatch-refused-{what}"}
        for what in (
            "account", "constraint", "cores", "gpus", "license", "memory", "nodes", "option", "partition", "qos",
            "qos-nodes", "time",
        )
    ],
    full=[{"sbatch": "sbatch-refused-full"}],
    unanswered=[
        {"sbatch": "sbatch-without-slurmctld"},
        {"sbatch": "sbatch-without-munged"},
        {"sbatch": ""},
    ],
    jobs=[
        RecordedJob(_FIRST, "ph-held", _P),
        RecordedJob(_FIRST, "ph-begin", _P),
        RecordedJob(_FIRST, "ph-partition-down", _P),
        RecordedJob(_FIRST, "ph-requeued", _P),
        RecordedJob(_FIRST, "ph-requeue-held", _P),
        RecordedJob(_FIRST, "ph-preempted-requeue", _P),
        RecordedJob(_FIRST, "ph-busy", _R),
        RecordedJob(_FIRST, "ph-suspended", _R),
        RecordedJob(_FIRST, "ph-completing", _R),
        RecordedJob(_FIRST, "ph-ok", _E, _LOST),
        RecordedJob(_FIRST, "ph-exit7", _E, _LOST),
        RecordedJob(_FIRST, "ph-memory", _E, _MEMORY),
        RecordedJob(_FIRST, "ph-preempted", _E, _PREEMPTED),
        RecordedJob(_FIRST, "ph-canceled", _E, _PREEMPTED),
        RecordedJob(_WITH_ACCOUNTING, "ph-canceled", _E, _PREEMPTED),
        RecordedJob(_LATER, "ph-node-lost", _E, _LOST),
        RecordedJob(_LATER, "ph-node-lost-requeue", _P),
        RecordedJob(_LATER, "ph-deadline", _E, _PREEMPTED),
        RecordedJob(_OVER, "ph-ok", _E, _LOST),
        RecordedJob(_OVER, "ph-signal", _E, _LOST),
        RecordedJob(_OVER, "ph-memory", _E, _MEMORY),
        RecordedJob(_OVER, "ph-timeout", _E, _PREEMPTED),
        RecordedJob(_OVER, "ph-deadline", _E, _PREEMPTED),
        RecordedJob(_OVER, "ph-node-lost", _E, _LOST),
        RecordedJob(_OVER, "ph-node-lost-requeue", _E, _PREEMPTED),
    ],
    away=[{"squeue": "squeue-without-slurmctld"}, {"squeue": "squeue-without-munged"}],
    described=[
        (
            {"partition": "scontrol-partition", "sinfo": "sinfo", "config": "scontrol-config"},
            "debug",
            ["debug", "short", "preemptible", "closed"],
        ),
        (
            {"partition": "scontrol-partition-lines", "sinfo": "sinfo-heading", "config": "scontrol-config"},
            "debug",
            ["debug", "short", "preemptible", "closed"],
        ),
    ],
)  # fmt: skip
