"""The Slurm batch scheduler, 22.05 to 25.05, driven by its commands over a transport.

A poll is one squeue for all of a site's jobs, and one sacct more only when jobs have left the queue since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from packhorse.sites.base import CommandResult, Job, JobState, JobStatus, Limits, SiteUnreachable, SubmitRejected, Transport
from packhorse.sites.schedulers import slurm_commands as commands
from packhorse.sites.schedulers.description import Description
from packhorse.sites.schedulers.slurm_commands import SlurmOptions
from packhorse.sites.schedulers.slurm_describe import describe, limits_of
from packhorse.sites.schedulers.slurm_reasons import explain_reason
from packhorse.sites.schedulers.slurm_rows import Row
from packhorse.sites.schedulers.slurm_states import end_of
from packhorse.sites.schedulers.slurm_text import is_full, own_words, parse_sacct, parse_squeue, parse_submitted, passes

_NO_ACCOUNTING = "accounting storage is disabled"


class SlurmScheduler:
    """A Slurm cluster as one user sees it."""

    launcher: tuple[str, ...] = commands.LAUNCHER
    signals_only_script = True  # below srun, Slurm itself tells the agents

    def __init__(self, options: SlurmOptions | None = None) -> None:
        self._options = options or SlurmOptions()

    def submit(self, transport: Transport, job: Job) -> str:
        """Raises SiteUnreachable when Slurm did not answer; the job may exist then, and ``find`` tells."""
        result = transport.run(commands.sbatch_command(job, self._options))
        words = own_words(result.stderr)
        if result.exit_code != 0:
            if passes(words) or result.exit_code in (126, 127):
                raise SiteUnreachable(f"Slurm did not take a job: {words}.")
            raise SubmitRejected(words or f"sbatch ended with exit code {result.exit_code}", may_pass=is_full(words))
        job_id = parse_submitted(result.stdout)
        if job_id is None:
            raise SiteUnreachable(f"sbatch printed no job id but: {result.stdout[:200]!r}.")
        return job_id

    def find(self, transport: Transport, job: Job) -> str | None:
        """A living job rather than an ended one. Raises SiteUnreachable when that cannot be told now."""
        rows = [row for row in parse_squeue(_run(transport, commands.squeue_command(job.token))) if row.name == job.token]
        if not rows:
            result = transport.run(commands.sacct_by_name_command(job.token))
            _check(result, unless=_NO_ACCOUNTING)
            rows = [row for row in parse_sacct(result.stdout) if row.name == job.token]
        return min(rows, key=_liveliest).job_id if rows else None

    def poll(self, transport: Transport, job_ids: Collection[str]) -> dict[str, JobStatus]:
        if not job_ids:
            return {}
        rows = parse_squeue(_run(transport, commands.squeue_command()))
        queued = {row.job_id: row for row in rows}
        gone = {job_id for job_id in job_ids if job_id not in queued}
        # who cancelled a job is known to accounting only
        unclear = gone | {job_id for job_id in job_ids if job_id in queued and queued[job_id].states == ("CANCELLED",)}
        evidence = "It has left the queue, and accounting does not know it."
        if unclear:
            result = transport.run(commands.sacct_command(unclear))
            if result.exit_code != 0:
                evidence = f"It has left the queue, and accounting did not answer: {own_words(result.stderr)}."
            for row in parse_sacct(result.stdout):
                if row.job_id in gone or (row.job_id in unclear and row.place is JobState.ENDED):
                    queued[row.job_id] = row  # the last of several tries wins
        statuses = {job_id: _status(queued.get(job_id), evidence, has_left=job_id in gone) for job_id in job_ids}
        return _follow_twins(statuses, queued, rows)

    def cancel(self, transport: Transport, job_ids: Collection[str]) -> None:
        if job_ids:
            _check(transport.run(commands.scancel_command(job_ids)), unless="invalid job id")

    def describe(self, transport: Transport) -> Description:
        """Queues, limits and nodes, by three commands. For a person, and for shaping allocations; not for every tick."""
        partitions, nodes, config = (
            _run(transport, command) for command in (commands.PARTITIONS_COMMAND, commands.NODES_COMMAND, commands.CONFIG_COMMAND)
        )
        return describe(partitions, nodes, config)

    def limits(self, transport: Transport) -> tuple[Limits, ...]:
        return limits_of(self.describe(transport), self._options.queue)

    def agent_command(self, nodes: int, cores: int, agent: list[str]) -> list[str]:
        return commands.agent_command(nodes, cores, agent)


def _run(transport: Transport, command: list[str]) -> str:
    result = transport.run(command)
    _check(result)
    return result.stdout


def _check(result: CommandResult, unless: str | None = None) -> None:
    """A question that Slurm does not answer has no answer yet, whatever the cause."""
    words = own_words(result.stderr)
    if result.exit_code != 0 and (unless is None or unless not in words.lower()):
        raise SiteUnreachable(f"Slurm does not answer: {words or f'exit code {result.exit_code}'}.")


_ORDER = {JobState.RUNNING: 0, JobState.PENDING: 1, JobState.ENDED: 2, JobState.UNKNOWN: 3}


def _liveliest(row: Row) -> tuple[int, int]:
    return _ORDER[row.place], int(row.job_id)


def _status(row: Row | None, evidence: str, *, has_left: bool) -> JobStatus:
    if row is None:
        return JobStatus(JobState.UNKNOWN, "", evidence)
    place = row.place
    if has_left and place is not JobState.ENDED:
        # accounting is behind, or the controller lost the job; either way nobody knows
        return JobStatus(JobState.UNKNOWN, row.says, f"It has left the queue, while accounting still says {row.says}.")
    status = JobStatus(place, row.says, _reason(row, place), nodes=row.nodes, started_at=row.started_at)
    if place is not JobState.ENDED:
        return status
    end = end_of(row.says)
    return replace(status, exit_code=row.exit_code, signal=row.signal, ended_at=row.ended_at, failure=end.failure, message=end.message)


def _reason(row: Row, place: JobState) -> str:
    if place is JobState.PENDING:
        return explain_reason(row.reason or "None")
    if place is not JobState.ENDED:
        return row.says
    how = f"signal {row.signal}" if row.signal else f"exit code {row.exit_code}" if row.exit_code else ""
    return ", ".join(part for part in (row.says, how, row.reason) if part)


def _follow_twins(statuses: dict[str, JobStatus], known: dict[str, Row], living: Iterable[Row]) -> dict[str, JobStatus]:
    """A submission that crashed halfway may have left two jobs of one token, of which the second leaves the spool to the first
    and ends at once. The allocation is alive while either is."""
    twins = {row.name: row for row in sorted(living, key=_liveliest, reverse=True) if row.place in (JobState.PENDING, JobState.RUNNING)}
    for job_id, status in statuses.items():
        row = known.get(job_id)
        twin = twins.get(row.name) if row is not None and status.state is JobState.ENDED else None
        if twin is not None:
            statuses[job_id] = JobStatus(twin.place, twin.says, f"Job {twin.job_id} of the same token is {twin.says}.")
    return statuses
