"""The Slurm batch scheduler, 22.05 to 25.05, driven by its commands over a transport.

A poll is one squeue for all of a site's jobs, and one sacct more only when jobs have left the queue since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from packhorse.sites.base import (
    CommandResult,
    Job,
    JobState,
    JobStatus,
    SiteUnreachable,
    SubmitRejected,
    Transport,
)
from packhorse.sites.schedulers import slurm_commands as commands
from packhorse.sites.schedulers.description import Description
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm_describe import describe
from packhorse.sites.schedulers.slurm_reasons import explain_reason
from packhorse.sites.schedulers.slurm_rows import Row
from packhorse.sites.schedulers.slurm_states import end_of
from packhorse.sites.schedulers.slurm_text import (
    errors_in,
    is_full,
    own_words,
    parse_sacct,
    parse_squeue,
    parse_submitted,
    passes,
)

_NO_ACCOUNTING = ("accounting storage is disabled",)
_GONE = ("invalid job id", "already completing or completed", "already finished")


class SlurmScheduler:
    """A Slurm cluster as one user sees it."""

    name = "slurm"
    launcher: tuple[str, ...] = commands.LAUNCHER
    signals_only_script = True  # below srun, Slurm itself tells the agents
    is_this_machine = False

    def __init__(self, options: SchedulerOptions | None = None) -> None:
        self._options = options or SchedulerOptions()
        self.queue = self._options.queue

    def submit(self, transport: Transport, job: Job) -> str:
        """Raises SiteUnreachable when Slurm did not answer; the job may exist then, and ``find`` tells."""
        result = transport.run(commands.sbatch_command(job, self._options))
        has_failed, words, errors = result.exit_code != 0, own_words(result.stderr), errors_in(result.stderr)
        if (job_id := parse_submitted(result.stdout, result.stderr, failed=has_failed)) is not None:
            return job_id
        if passes(errors or words) or result.exit_code in (126, 127):
            raise SiteUnreachable(f"Slurm did not take a job: {words}.")
        if has_failed or "submission failed" in words:
            raise SubmitRejected(_words(result), may_pass=is_full(errors or _words(result)))
        raise SiteUnreachable(f"sbatch printed no job id, or several: {_printed(result)}")

    def find(self, transport: Transport, job: Job) -> str | None:
        """A living job rather than an ended one. Raises SiteUnreachable when that cannot be told now."""
        rows = [row for row in _squeue(transport, commands.squeue_command(job.token)) if row.name == job.token]
        if not rows:
            result = transport.run(commands.sacct_by_name_command(job.token))
            rows = [row for row in _rows(result, parse_sacct, unless=_NO_ACCOUNTING) if row.name == job.token]
        return min(rows, key=_liveliest).job_id if rows else None

    def poll(self, transport: Transport, job_ids: Collection[str]) -> dict[str, JobStatus]:
        if not job_ids:
            return {}
        rows = _squeue(transport, commands.squeue_command())
        queued = {row.job_id: row for row in rows}
        gone = {job_id for job_id in job_ids if job_id not in queued}
        # who cancelled a job is known to accounting only
        unclear = gone | {job_id for job_id in job_ids if job_id in queued and queued[job_id].states == ("CANCELLED",)}
        evidence = "It has left the queue, and accounting does not know it."
        if unclear:
            result = transport.run(commands.sacct_command(unclear))
            ended = parse_sacct(result.stdout)
            if result.exit_code != 0 or (not ended and errors_in(result.stderr)):
                evidence = f"It has left the queue, and accounting did not answer: {_words(result)}."
            for row in ended:
                if row.job_id in gone or (row.job_id in unclear and row.state is JobState.ENDED):
                    queued[row.job_id] = row  # the last of several tries wins
        statuses = {job_id: _status(queued.get(job_id), evidence, has_left=job_id in gone) for job_id in job_ids}
        return _follow_twins(statuses, queued, rows)

    def cancel(self, transport: Transport, job_ids: Collection[str]) -> None:
        if job_ids:
            _check(transport.run(commands.scancel_command(job_ids)), unless=_GONE)

    def describe(self, transport: Transport) -> Description:
        """By three commands."""
        results = [
            transport.run(command)
            for command in (commands.PARTITIONS_COMMAND, commands.NODES_COMMAND, commands.CONFIG_COMMAND)
        ]
        for result in results:
            _check(result)
        partitions, nodes, config = (result.stdout for result in results)
        found = describe(partitions, nodes, config)
        for result, is_told in zip(results, (found.queues, any(queue.kinds for queue in found.queues)), strict=False):
            if not is_told and (result.stdout.strip() or result.stderr.strip()):
                raise SiteUnreachable(f"Slurm tells of no partitions with nodes: {_printed(result)}")
        return found

    def agent_command(self, nodes: int, cores: int, agent: list[str]) -> list[str]:
        return commands.agent_command(nodes, cores, agent)


def _squeue(transport: Transport, command: list[str]) -> list[Row]:
    return _rows(transport.run(command), parse_squeue)


def _rows(result: CommandResult, parse: Callable[[str], list[Row]], unless: Sequence[str] = ()) -> list[Row]:
    """What a question was answered with.

    Errors alone are no answer, whatever the exit code: a wrapper may have lost it.
    """
    _check(result, unless)
    rows = parse(result.stdout)
    errors = "" if rows or result.exit_code else errors_in(f"{result.stderr}\n{result.stdout}")
    if errors and not any(known in errors.lower() for known in unless):
        raise SiteUnreachable(f"Slurm does not answer: {errors}.")
    return rows


def _check(result: CommandResult, unless: Sequence[str] = ()) -> None:
    """A question that Slurm does not answer has no answer yet, whatever the cause."""
    words = _words(result)
    if result.exit_code != 0 and not any(known in words.lower() for known in unless):
        raise SiteUnreachable(f"Slurm does not answer: {words}.")


def _words(result: CommandResult) -> str:
    """What a command that failed says; a wrapper of the site's may say it on stdout."""
    return (
        own_words(result.stderr)
        or own_words(result.stdout)
        or f"it ended with exit code {result.exit_code} and said nothing"
    )


def _printed(result: CommandResult) -> str:
    """What a command printed that is not understood, for a person."""
    return (own_words(f"{result.stdout}\n{result.stderr}") or "nothing at all")[-300:]


_ORDER = {JobState.RUNNING: 0, JobState.PENDING: 1, JobState.ENDED: 2, JobState.UNKNOWN: 3}


def _liveliest(row: Row) -> tuple[int, int]:
    return _ORDER[row.state], int(row.job_id)


def _status(row: Row | None, evidence: str, *, has_left: bool) -> JobStatus:
    if row is None:
        return JobStatus(JobState.UNKNOWN, "", evidence)
    state = row.state
    if has_left and state is not JobState.ENDED:
        # accounting is behind, or the controller lost the job; either way nobody knows
        return JobStatus(JobState.UNKNOWN, row.says, f"It has left the queue, while accounting still says {row.says}.")
    status = JobStatus(state, row.says, _reason(row, state), nodes=row.nodes, started_at=row.started_at)
    if state is not JobState.ENDED:
        return status
    end = end_of(row.says)
    return replace(
        status,
        exit_code=row.exit_code,
        signal=row.signal,
        ended_at=row.ended_at,
        failure=end.failure,
        message=end.message,
    )


def _reason(row: Row, state: JobState) -> str:
    if state is JobState.PENDING:
        return explain_reason(row.reason or "None")
    if state is not JobState.ENDED:
        return row.says
    how = f"signal {row.signal}" if row.signal else f"exit code {row.exit_code}" if row.exit_code else ""
    return ", ".join(part for part in (row.says, how, row.reason) if part)


def _follow_twins(statuses: dict[str, JobStatus], known: dict[str, Row], living: Iterable[Row]) -> dict[str, JobStatus]:
    """A submission that crashed halfway may have left two jobs of one token, of which the second leaves the spool to
    the first and ends at once. The allocation is alive while either is."""
    twins = {
        row.name: row
        for row in sorted(living, key=_liveliest, reverse=True)
        if row.state in (JobState.PENDING, JobState.RUNNING)
    }
    for job_id, status in statuses.items():
        row = known.get(job_id)
        twin = twins.get(row.name) if row is not None and status.state is JobState.ENDED else None
        if twin is not None:
            statuses[job_id] = JobStatus(twin.state, twin.says, f"Job {twin.job_id} of the same token is {twin.says}.")
    return statuses
