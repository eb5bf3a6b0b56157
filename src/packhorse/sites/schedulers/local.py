"""The 'batch scheduler' of a machine without one: a job is a session of processes, known by pid and start time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection

from packhorse.sites.base import Job, JobState, JobStatus, SubmitRejected, Transport
from packhorse.sites.schedulers.description import Description, NodeKind, Queue
from packhorse.sites.schedulers.options import SchedulerOptions

_START_PATIENCE_S = 10.0


class LocalScheduler:
    """Starts each job in a session of its own, so that it outlives the engine."""

    name = "local"
    queue: str | None = None
    launcher: tuple[str, ...] = ("mpirun", "-np", "{ranks}")
    signals_only_script = False
    is_this_machine = True

    def __init__(self, options: SchedulerOptions | None = None) -> None:
        self._options = options or SchedulerOptions()

    def describe(self, transport: Transport) -> Description:
        """One queue without a name, of one node: the cores that this process may use, and nine tenths of the memory,
        unless the configuration says otherwise.
        """
        cores = self._options.cores or len(os.sched_getaffinity(0))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        node = NodeKind(1, 1, cores, self._options.memory_mb or int(memory * 0.9 / 1e6))
        queue = Queue(
            "", is_default=True, is_up=True, max_walltime_s=None, default_walltime_s=None, max_nodes=1, min_nodes=1,
            whole_nodes=True, preemptible=False, priority=1, accounts=None, kinds=(node,),
        )  # fmt: skip
        return Description(
            "this machine", "", (queue,), has_accounting=True, remembers_s=None, usual_walltime_s=None
        )  # jobs leave their exit codes in their spools

    def agent_command(self, nodes: int, cores: int, agent: list[str]) -> list[str]:
        return agent

    def submit(self, transport: Transport, job: Job) -> str:
        result = transport.run(["setsid", "--fork", *_shell(), job.script])
        if result.exit_code != 0:
            raise SubmitRejected(result.stderr.strip() or f"setsid ended with exit code {result.exit_code}")
        give_up = time.monotonic() + _START_PATIENCE_S
        while time.monotonic() < give_up:
            job_id = self.find(transport, job)
            if job_id is not None:
                return job_id
            time.sleep(0.002)
        raise SubmitRejected(f"the job did not start within {_START_PATIENCE_S:.0f} s; see {job.spool}/job.out")

    def find(self, transport: Transport, job: Job) -> str | None:
        try:
            pid = transport.read(f"{job.spool}/job.pid").decode().strip()
        except FileNotFoundError:
            return None
        if not pid.isdigit():  # between its creation and the echo
            return None
        # after a reboot the pid may be another program's
        start_time = _start_time(transport, pid) if _runs(transport, pid, job.script) else None
        return f"{pid}:{start_time or 'gone'}:{job.spool}"

    def poll(self, transport: Transport, job_ids: Collection[str]) -> dict[str, JobStatus]:
        return {job_id: _status(transport, job_id) for job_id in job_ids}

    def cancel(self, transport: Transport, job_ids: Collection[str]) -> None:
        for job_id in job_ids:
            if _status(transport, job_id).state is JobState.RUNNING:
                transport.run(["kill", "-TERM", "--", f"-{job_id.split(':')[0]}"])


def _shell() -> list[str]:
    """A POSIX shell. Others than bash lose functions that it has exported, as those of module systems are."""
    return ["bash", "--posix"] if shutil.which("bash") else ["sh"]


def _status(transport: Transport, job_id: str) -> JobStatus:
    pid, start_time, spool = job_id.split(":", 2)
    if start_time != "gone" and _start_time(transport, pid) == start_time:
        return JobStatus(JobState.RUNNING, "running")
    try:
        code = int(transport.read(f"{spool}/job.exit") or b"-1")
    except (FileNotFoundError, ValueError):
        return JobStatus(JobState.ENDED, "died", "its processes are gone and left no exit code: it was killed")
    return JobStatus(JobState.ENDED, "exited", f"exit code {code}", code)


def _runs(transport: Transport, pid: str, script: str) -> bool:
    try:
        return script.encode() in transport.read(f"/proc/{pid}/cmdline").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _start_time(transport: Transport, pid: str) -> str | None:
    """Field 22 of the process's stat, which tells it from a later process of the same pid; None when it is gone or a
    zombie.
    """
    try:
        fields = transport.read(f"/proc/{pid}/stat").decode(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
