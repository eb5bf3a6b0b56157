"""Composes Slurm's commands, as lists of arguments. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from packhorse.sites.base import Job
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm_text import SACCT_FIELDS, SEPARATOR, SQUEUE_FIELDS

_MIB = 1 << 20
#: Times as seconds since the epoch whatever the site's time zone; messages in English.
_ENVIRONMENT = ["env", "SLURM_TIME_FORMAT=%s", "LC_ALL=C"]
_LOOK_BACK = "now-14days"  # a token older than this is not looked for


def sbatch_command(job: Job, options: SchedulerOptions) -> list[str]:
    """Submits ``job.script``. The token is the job's name.

    ``--no-requeue``: a second start of an allocation would find its spool used; lost work is placed anew by the engine.
    ``--no-kill``: of several nodes, one that fails takes only its own tasks along. ``--export=ALL``: with NONE and NIL,
    Slurm (at least 22.05) has the node run the user's login profile before the job, which holds up or fails every
    allocation when that profile is slow or broken.
    """
    given = [
        ("--partition", job.queue or options.queue), ("--account", options.account), ("--qos", options.qos),
        ("--constraint", options.constraint), ("--reservation", options.reservation),
        ("--mem", None if job.memory_mb is None else f"{math.ceil(job.memory_mb * 1e6 / _MIB)}M"),
        ("--time", None if job.walltime_s is None else minutes(job.walltime_s)),
        ("--gpus-per-node", job.gpus or None),
    ]  # fmt: skip
    return [
        "sbatch", "--parsable", "--no-requeue", f"--job-name={job.token}", f"--comment=packhorse {job.token}",
        f"--nodes={job.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={job.cores}",
        *(f"{name}={value}" for name, value in given if value is not None),
        *(["--no-kill"] if job.nodes > 1 else []),
        f"--chdir={job.spool}", f"--output={job.spool.replace('%', '%%')}/job.out", "--open-mode=append",
        "--export=ALL", *job.options, *options.extra, job.script,
    ]  # fmt: skip


def minutes(walltime_s: float) -> int:
    """A time limit in minutes, which is how Slurm counts: rounded up, and never 0, which would mean no limit."""
    return max(1, math.ceil(walltime_s / 60))


def squeue_command(name: str | None = None) -> list[str]:
    """All jobs of this user that the controller still knows, ended ones too; or only those of one name.

    Not by job id: the controller gives a single user's jobs more cheaply than a list of ids, and the command's length
    does not grow.
    """
    fields = ",".join(f"{field}:{SEPARATOR}" for field in SQUEUE_FIELDS)
    only = [] if name is None else [f"--name={name}"]
    return [*_ENVIRONMENT, "squeue", "--me", "--noheader", "--states=all", *only, f"--Format={fields}"]


def sacct_command(job_ids: Iterable[str]) -> list[str]:
    """Jobs that have left the controller, each with all its tries."""
    return [*_sacct(), f"--jobs={','.join(sorted(job_ids))}"]


def sacct_by_name_command(name: str) -> list[str]:
    """This user's jobs of one name."""
    return [*_sacct(), f"--name={name}", f"--starttime={_LOOK_BACK}"]


def _sacct() -> list[str]:
    form = [f"--delimiter={SEPARATOR}", f"--format={','.join(SACCT_FIELDS)}"]
    return [*_ENVIRONMENT, "sacct", "--noheader", "--parsable2", "--duplicates", "--allocations", *form]


def scancel_command(job_ids: Iterable[str]) -> list[str]:
    """Ends jobs; --quiet: those that are gone are fine."""
    return ["env", "LC_ALL=C", "scancel", "--quiet", *sorted(job_ids)]


def agent_command(nodes: int, cores: int, agent: list[str]) -> list[str]:
    """What a batch script runs so that ``agent`` runs once on every node of its allocation.

    The step shares the allocation with the steps of multi-node tasks (``--overlap``), may use all of it (``--mem=0``,
    no binding), and outlives agents that fail or nodes that die (``--kill-on-bad-exit=0 --wait=0 --no-kill``).
    """
    if nodes == 1:
        return agent
    return [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cores}",
        "--mem=0",
        "--overlap",
        "--export=ALL",
        "--kill-on-bad-exit=0",
        "--wait=0",
        "--no-kill",
        "--mpi=none",
        "--cpu-bind=none",
        "--input=none",
        *agent,
    ]


#: Starts a task's ranks in its allocation, beside the step of an agent (``--overlap``) and with all of the memory
#: (``--mem=0``).
LAUNCHER = (
    "srun",
    "--nodes={nodes}",
    "--ntasks={ranks}",
    "--ntasks-per-node={ranks_per_node}",
    "--cpus-per-task={cores_per_rank}",
    "--overlap",
    "--mem=0",
    "--kill-on-bad-exit=1",
)
PARTITIONS_COMMAND = ["env", "LC_ALL=C", "scontrol", "--oneliner", "show", "partition"]
CONFIG_COMMAND = ["env", "LC_ALL=C", "scontrol", "show", "config"]
NODES_COMMAND = ["env", "LC_ALL=C", "sinfo", "--noheader", "--exact", "--format=%R|%t|%D|%c|%m|%G|%f"]
