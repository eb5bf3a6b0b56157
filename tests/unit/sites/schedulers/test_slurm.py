"""SlurmScheduler over a transport that answers with what a real cluster printed."""

from __future__ import annotations

from typing import cast

import pytest

from packhorse.domain.failures import FailureClass
from packhorse.sites.base import CommandResult, Job, JobState, SiteUnreachable, SubmitRejected, Transport
from packhorse.sites.schedulers.slurm import SlurmScheduler

from .recorded import result, text

SCHEDULER = SlurmScheduler()
JOB = Job("a-01", "/s", "/s/job.sh", 1, 100, 60.0)
NOTHING = CommandResult(0, "", "")
NO_ACCOUNTING = CommandResult(1, "", "Slurm accounting storage is disabled\n")


class Answers:
    """A transport that knows one answer per program."""

    def __init__(self, **answers: CommandResult) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def run(self, argv: list[str], *, timeout_s: float = 60.0) -> CommandResult:
        program = next(
            word for word in argv if word in self._answers or word.startswith(("squeue", "sacct", "sbatch", "scancel"))
        )
        self.asked.append(program)
        return self._answers[program]

    @property
    def transport(self) -> Transport:
        return cast(Transport, self)


def said(line: str) -> CommandResult:
    return CommandResult(0, f"{line}\n", "")


def id_of(name: str) -> str:
    return next(line.split("|")[0] for line in text("squeue-1.txt").splitlines() if line.endswith(f"|{name}|"))


def test_the_living_need_one_question() -> None:
    answers = Answers(squeue=result("squeue-1"))
    names = ["ph-ok", "ph-memory", "ph-held", "ph-busy", "ph-preempted-requeue"]
    statuses = SCHEDULER.poll(answers.transport, [id_of(name) for name in names])
    assert answers.asked == ["squeue"]
    ok, memory, held, busy, requeued = statuses.values()
    assert (ok.state, ok.exit_code, ok.reason) == (JobState.ENDED, 0, "COMPLETED")
    assert (memory.failure, memory.message) == (
        FailureClass.OUT_OF_MEMORY,
        "Its allocation went over the memory that the job had.",
    )
    assert (busy.failure, busy.message) == (None, "")
    assert (memory.state, memory.native_state, memory.reason) == (
        JobState.ENDED,
        "OUT_OF_MEMORY",
        "OUT_OF_MEMORY, OutOfMemory",
    )
    assert (held.state, held.reason) == (
        JobState.PENDING,
        "It is held by its owner; 'scontrol release' lets it go. (Slurm: JobHeldUser)",
    )
    assert (busy.state, busy.nodes, busy.ended_at, busy.exit_code) == (JobState.RUNNING, "n1", None, None)
    assert (requeued.state, requeued.reason) == (
        JobState.PENDING,
        "Its earliest start has not come yet. (Slurm: BeginTime)",
    )


def test_who_cancelled_a_job_is_asked_from_accounting() -> None:
    answers = Answers(squeue=result("squeue-1"), sacct=result("sacct-1"))
    (status,) = SCHEDULER.poll(answers.transport, [id_of("ph-canceled")]).values()
    assert (status.state, status.native_state) == (JobState.ENDED, "CANCELLED by 0")
    assert answers.asked == ["squeue", "sacct"]
    away = Answers(squeue=result("squeue-1"), sacct=result("sacct-without-slurmdbd"))
    (status,) = SCHEDULER.poll(away.transport, [id_of("ph-canceled")]).values()
    assert (status.state, status.native_state) == (JobState.ENDED, "CANCELLED")


def test_a_job_that_has_left_is_asked_from_accounting() -> None:
    answers = Answers(squeue=NOTHING, sacct=result("sacct-2"))
    names = ["ph-timeout", "ph-deadline", "ph-node-lost", "ph-node-lost-requeue", "ph-ok"]
    ids = {line.rsplit("|", 1)[1]: line.split("|")[0] for line in text("sacct-2.txt").splitlines()}
    statuses = SCHEDULER.poll(answers.transport, [ids[name] for name in names])
    assert answers.asked == ["squeue", "sacct"]
    assert [status.native_state for status in statuses.values()] == [
        "TIMEOUT",
        "DEADLINE",
        "NODE_FAIL",
        "CANCELLED by 0",
        "COMPLETED",
    ]
    assert {status.state for status in statuses.values()} == {JobState.ENDED}


@pytest.mark.parametrize(
    ("sacct", "evidence"),
    [
        (NOTHING, "accounting does not know it"),
        (NO_ACCOUNTING, "accounting did not answer: Slurm accounting storage is disabled"),
        (result("sacct-without-slurmdbd"), "accounting did not answer"),
        (said("5|RUNNING|0:0|1750000000|Unknown|n1|None|a-01"), "accounting still says RUNNING"),
        (said("5|REQUEUED|0:0|1750000000|1750000001|n1|None|a-01"), "accounting still says REQUEUED"),
        (said("5|HIBERNATING|0:0|1750000000|1750000001|n1|None|a-01"), "accounting still says HIBERNATING"),
    ],
)
def test_what_nobody_knows_is_unknown_with_evidence(sacct: CommandResult, evidence: str) -> None:
    status = SCHEDULER.poll(Answers(squeue=NOTHING, sacct=sacct).transport, ["5"])["5"]
    assert status.state is JobState.UNKNOWN
    assert evidence in status.reason


def test_an_unknown_state_in_the_queue_is_unknown_with_evidence() -> None:
    status = SCHEDULER.poll(Answers(squeue=said("5|HIBERNATING|0|1|2|n1|None|a-01|")).transport, ["5"])["5"]
    assert (status.state, status.native_state, status.exit_code) == (JobState.UNKNOWN, "HIBERNATING", None)


@pytest.mark.parametrize(
    ("sbatch", "error"),
    [
        (CommandResult(1, "", ""), SubmitRejected),
        # it may be there or not: 'find' will tell
        (
            CommandResult(
                1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
            ),
            SiteUnreachable,
        ),
        (CommandResult(127, "", "sbatch: command not found\n"), SiteUnreachable),
        (CommandResult(0, "gibberish", ""), SiteUnreachable),
    ],
)
def test_submissions_that_fail(sbatch: CommandResult, error: type[Exception]) -> None:
    with pytest.raises(error):
        SCHEDULER.submit(Answers(sbatch=sbatch).transport, JOB)


def test_find_prefers_the_living_then_the_first() -> None:
    rows = [
        "3|FAILED|0|1|2|n1|None|a-01|",
        "5|RUNNING|0|1|2|n1|None|a-01|",
        "4|PENDING|0|N/A|N/A||None|a-01|",
        "1|RUNNING|0|1|2|n1|None|a-011|",
    ]
    assert SCHEDULER.find(Answers(squeue=said("\n".join(rows))).transport, JOB) == "5"
    assert SCHEDULER.find(Answers(squeue=said(rows[0])).transport, JOB) == "3"


def test_find_asks_accounting_before_it_says_none() -> None:
    assert SCHEDULER.find(Answers(squeue=NOTHING, sacct=said("9|COMPLETED|0:0|1|2|n1|None|a-01")).transport, JOB) == "9"
    assert SCHEDULER.find(Answers(squeue=NOTHING, sacct=NOTHING).transport, JOB) is None
    assert SCHEDULER.find(Answers(squeue=NOTHING, sacct=NO_ACCOUNTING).transport, JOB) is None
    with pytest.raises(SiteUnreachable):
        SCHEDULER.find(Answers(squeue=NOTHING, sacct=result("sacct-without-slurmdbd")).transport, JOB)


def test_an_ended_job_with_a_living_twin_is_alive() -> None:
    rows = ["3|RUNNING|0|1|2|n1|None|a-01|", "4|COMPLETED|0|1|2|n1|None|a-01|", "5|COMPLETED|0|1|2|n1|None|a-02|"]
    statuses = SCHEDULER.poll(Answers(squeue=said("\n".join(rows))).transport, ["4", "5"])
    assert statuses["4"].state is JobState.RUNNING
    assert "Job 3" in statuses["4"].reason
    assert statuses["5"].state is JobState.ENDED
