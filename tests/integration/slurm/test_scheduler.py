"""SlurmScheduler against a real cluster, through its commands."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.failures import FailureClass
from packhorse.sites.base import CommandResult, Job, JobState, JobStatus, SiteUnreachable, SubmitRejected
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.schedulers.slurm_commands import agent_command
from packhorse.sites.script import batch_script
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.slurm import TestCluster

SCHEDULER = SlurmScheduler()
PATIENCE_S = 30.0
Submit = Callable[..., tuple[str, Job]]


class CountingTransport(LocalTransport):
    """Remembers the commands it ran."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def run(self, argv: list[str], **how: Any) -> CommandResult:
        self.commands.append(next(word for word in argv if word.startswith("s")))
        return super().run(argv, **how)


@pytest.fixture
def transport(slurm: TestCluster) -> CountingTransport:
    return CountingTransport()


@pytest.fixture
def submit(slurm: TestCluster, transport: CountingTransport) -> Submit:
    """Submits a job that runs a shell command by Packhorse's own batch script; returns its id and the job."""

    def submit(
        command: str,
        *extra: str,
        cores: int = 1,
        nodes: int = 1,
        memory_mb: int = 100,
        options: SchedulerOptions | None = None,
    ) -> tuple[str, Job]:
        folder = slurm.folder("job")
        argv = agent_command(nodes, cores, ["sh", "-c", command])
        (folder / "job.sh").write_text(batch_script(folder.name, str(folder), argv, forwards_sigterm=nodes == 1))
        job = Job(folder.name, str(folder), str(folder / "job.sh"), cores, memory_mb, 300, nodes=nodes)
        scheduler = SlurmScheduler(options or SchedulerOptions(extra=extra))
        return scheduler.submit(transport, job), job

    return submit


def await_state(transport: LocalTransport, job_id: str, state: JobState) -> JobStatus:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        status = SCHEDULER.poll(transport, [job_id])[job_id]
        if status.state is state:
            return status
        assert time.monotonic() < give_up, f"{job_id} is not {state} but {status}"
        time.sleep(0.2)


def printed(job: Job) -> str:
    """What it printed so far; it is RUNNING a moment before it prints."""
    try:
        return (Path(job.spool) / "job.out").read_text()
    except FileNotFoundError:
        return ""


def test_a_job_from_submission_to_its_end(transport: CountingTransport, submit: Submit) -> None:
    job_id, job = submit("echo hello; sleep 1; exit 3")
    assert SCHEDULER.find(transport, job) == job_id
    running = await_state(transport, job_id, JobState.RUNNING)
    assert running.nodes
    assert running.ended_at is None
    ended = await_state(transport, job_id, JobState.ENDED)
    assert "hello" in printed(job)
    # the batch script ends well whatever its command did, whose code is in job.exit
    assert (ended.native_state, ended.exit_code, ended.signal) == ("COMPLETED", 0, None)
    assert (Path(job.spool) / "job.exit").read_text() == "3\n"
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert 0 <= time.time() - ended.ended_at < PATIENCE_S
    assert SCHEDULER.find(transport, job) == job_id  # also when it is over


def test_a_job_that_has_left_the_queue_is_found_in_accounting(
    slurm: TestCluster, transport: CountingTransport, submit: Submit
) -> None:
    job_id, job = submit("exit 0")
    await_state(transport, job_id, JobState.ENDED)
    forgetful = Forgetful(job_id)
    give_up = time.monotonic() + PATIENCE_S
    while (
        status := SCHEDULER.poll(forgetful, [job_id])[job_id]
    ).state is JobState.UNKNOWN and time.monotonic() < give_up:
        time.sleep(0.2)  # slurmdbd hears of it a little later
    assert (status.state, status.native_state, status.exit_code) == (JobState.ENDED, "COMPLETED", 0)
    while (found := SCHEDULER.find(forgetful, job)) is None and time.monotonic() < give_up:
        time.sleep(0.2)
    assert found == job_id


class Forgetful(CountingTransport):
    """As if the controller had purged a job from its queue, which it does some time after MinJobAge."""

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self._job_id = job_id

    def run(self, argv: list[str], **how: Any) -> CommandResult:
        result = super().run(argv, **how)
        if "squeue" not in argv:
            return result
        kept = [line for line in result.stdout.splitlines() if not line.startswith(f"{self._job_id}|")]
        return CommandResult(result.exit_code, "\n".join(kept), result.stderr)


def test_a_job_that_nobody_knows_is_unknown(transport: CountingTransport) -> None:
    status = SCHEDULER.poll(transport, ["99999999"])["99999999"]
    assert status.state is JobState.UNKNOWN
    assert "accounting does not know it" in status.reason


def test_one_query_for_many_jobs(transport: CountingTransport, submit: Submit) -> None:
    ids = [submit("true", "--hold")[0] for _ in range(20)]
    transport.commands.clear()
    statuses = SCHEDULER.poll(transport, ids)
    assert transport.commands == ["squeue"]
    assert {status.state for status in statuses.values()} == {JobState.PENDING}
    transport.commands.clear()
    SCHEDULER.cancel(transport, ids)
    assert transport.commands == ["scancel"]
    transport.commands.clear()
    statuses = SCHEDULER.poll(transport, ids)
    assert {status.state for status in statuses.values()} == {JobState.ENDED}
    assert transport.commands == ["squeue", "sacct"]
    transport.commands.clear()
    assert SCHEDULER.poll(transport, []) == {}
    assert transport.commands == []


def test_cancel_reaches_the_agent_with_sigterm_and_says_by_whom(transport: CountingTransport, submit: Submit) -> None:
    job_id, job = submit(
        "trap 'echo draining; sleep 1; echo drained; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    )
    await_state(transport, job_id, JobState.RUNNING)
    while "ready" not in printed(job):
        time.sleep(0.1)
    SCHEDULER.cancel(transport, [job_id, "99999999"])
    status = await_state(transport, job_id, JobState.ENDED)
    assert "drained" in printed(job)
    assert status.native_state.startswith("CANCELLED")
    assert status.failure is FailureClass.PREEMPTED
    SCHEDULER.cancel(transport, [job_id])  # is gone, and that is fine


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SchedulerOptions(account="nobody"), "Invalid account"),
        (SchedulerOptions(queue="nothing"), "Invalid partition name"),
        (SchedulerOptions(qos="small", extra=("--nodes=2",)), "QOSMaxNodePerJobLimit"),
        (SchedulerOptions(extra=("--nodes=5",)), "Node count"),
        (SchedulerOptions(queue="short", extra=("--time=600",)), "time limit"),
    ],
)
def test_a_refusal_has_the_schedulers_own_words(submit: Submit, options: SchedulerOptions, words: str) -> None:
    with pytest.raises(SubmitRejected, match=words) as refused:
        submit("true", options=options)
    assert not refused.value.may_pass


def test_a_full_queue_refuses_for_now(transport: CountingTransport, submit: Submit) -> None:
    options = SchedulerOptions(qos="few", extra=("--hold",))
    ids = [submit("true", options=options)[0] for _ in range(2)]
    with pytest.raises(SubmitRejected) as refused:
        submit("true", options=options)
    assert refused.value.may_pass
    SCHEDULER.cancel(transport, ids)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--hold"], "held by its owner"),
        (["--begin=now+1hour"], "earliest start"),
        (["--partition=closed"], "partition is down"),
    ],
)
def test_what_waits_says_why_in_english(
    transport: CountingTransport, submit: Submit, extra: list[str], sentence: str
) -> None:
    job_id, _ = submit("true", *extra)
    give_up = time.monotonic() + PATIENCE_S
    while sentence not in (reason := SCHEDULER.poll(transport, [job_id])[job_id].reason):
        assert time.monotonic() < give_up, reason
        time.sleep(0.2)
    SCHEDULER.cancel(transport, [job_id])


def test_memory_preemption_and_a_lost_node_are_told_apart(
    slurm: TestCluster, transport: CountingTransport, submit: Submit
) -> None:
    last, third = slurm.nodes[-1], slurm.nodes[-2]
    eats, _ = submit("exec python3 -c 'x = bytearray(400_000_000); import time; time.sleep(9)'", f"--nodelist={last}")
    assert await_state(transport, eats, JobState.ENDED).failure is FailureClass.OUT_OF_MEMORY

    yields, _ = submit("sleep 100", "--partition=preemptible", f"--nodelist={last}", cores=2)
    lost, _ = submit("sleep 100", f"--nodelist={third}")
    await_state(transport, yields, JobState.RUNNING)
    await_state(transport, lost, JobState.RUNNING)
    takes, _ = submit("true", f"--nodelist={last}", cores=2)
    slurm.run("scontrol", "update", f"nodename={third}", "state=down", "reason=test")
    status = await_state(transport, yields, JobState.ENDED)
    assert (status.native_state, status.failure) == ("PREEMPTED", FailureClass.PREEMPTED)
    status = await_state(transport, lost, JobState.ENDED)
    with contextlib.suppress(subprocess.CalledProcessError):  # it may be back by itself
        slurm.run("scontrol", "update", f"nodename={third}", "state=resume")
    assert (status.native_state, status.failure) == ("NODE_FAIL", FailureClass.NODE_LOST)
    await_state(transport, takes, JobState.ENDED)


def test_a_command_runs_once_on_every_node_and_drains_on_cancel(
    slurm: TestCluster, transport: CountingTransport, submit: Submit
) -> None:
    command = "trap 'echo drained-$SLURMD_NODENAME; exit 0' TERM; echo up-$SLURMD_NODENAME; while :; do sleep 0.1; done"
    job_id, job = submit(command, nodes=2)
    status = await_state(transport, job_id, JobState.RUNNING)
    give_up = time.monotonic() + PATIENCE_S
    while printed(job).count("up-") < 2:
        assert time.monotonic() < give_up, printed(job)
        time.sleep(0.1)
    SCHEDULER.cancel(transport, [job_id])
    await_state(transport, job_id, JobState.ENDED)
    nodes = [node for node in slurm.nodes if f"up-{node}" in printed(job)]
    assert len(nodes) == 2, status.nodes
    assert all(f"drained-{node}" in printed(job) for node in nodes)


def test_two_jobs_of_one_token_are_one_allocation(transport: CountingTransport, submit: Submit) -> None:
    first, job = submit("sleep 100")
    await_state(transport, first, JobState.RUNNING)
    second = SCHEDULER.submit(transport, job)  # leaves the spool to the first, and ends
    give_up = time.monotonic() + PATIENCE_S
    while (status := SCHEDULER.poll(transport, [second])[second]).reason.find(f"Job {first}") < 0:
        assert time.monotonic() < give_up, status
        assert status.state is not JobState.ENDED
        time.sleep(0.2)
    assert status.state is JobState.RUNNING
    assert SCHEDULER.find(transport, job) == first
    SCHEDULER.cancel(transport, [first])
    assert await_state(transport, second, JobState.ENDED).native_state == "COMPLETED"


def test_description_of_queues_limits_and_nodes(slurm: TestCluster, transport: CountingTransport) -> None:
    description = SCHEDULER.describe(transport)
    assert transport.commands == ["scontrol", "sinfo", "scontrol"]
    assert description.has_accounting
    default = description.queue(None)
    assert default is not None
    assert (default.name, default.max_walltime_s, default.nodes) == ("debug", None, len(slurm.nodes))
    assert {(kind.cores, kind.memory_mb) for kind in default.kinds} == {(2, 4194)}
    short = description.queue("short")
    assert short is not None
    assert (short.max_walltime_s, short.default_walltime_s, short.max_nodes) == (300.0, 60.0, 2)
    assert {queue.name for queue in description.queues if queue.preemptible} >= {"preemptible"}
    assert [queue.name for queue in description.queues if not queue.is_up] == ["closed"]


def test_a_controller_that_is_away_is_a_site_that_does_not_answer(
    slurm: TestCluster, transport: CountingTransport, submit: Submit
) -> None:
    job_id, job = submit("sleep 100")
    await_state(transport, job_id, JobState.RUNNING)
    slurm.service("stop", "slurmctld")
    try:
        with pytest.raises(SiteUnreachable, match="Unable to contact slurm controller"):
            SCHEDULER.poll(transport, [job_id])
        with pytest.raises(SiteUnreachable):
            SCHEDULER.submit(transport, job)
    finally:
        slurm.service("start", "slurmctld")
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            status = SCHEDULER.poll(transport, [job_id])[job_id]
            break
        except SiteUnreachable:
            assert time.monotonic() < give_up
            time.sleep(0.2)
    assert status.state is JobState.RUNNING
    SCHEDULER.cancel(transport, [job_id])


def test_accounting_that_is_away_leaves_a_job_unknown_until_it_is_back(
    slurm: TestCluster, transport: CountingTransport, submit: Submit
) -> None:
    job_id, job = submit("true")
    await_state(transport, job_id, JobState.ENDED)
    forgetful = Forgetful(job_id)
    await_state(forgetful, job_id, JobState.ENDED)
    slurm.service("kill", "slurmdbd")
    try:
        status = SCHEDULER.poll(forgetful, [job_id])[job_id]
        assert status.state is JobState.UNKNOWN
        assert "accounting did not answer" in status.reason
        with pytest.raises(SiteUnreachable):  # 'there is none' would submit it twice
            SCHEDULER.find(forgetful, job)
    finally:
        slurm.service("start", "slurmdbd")
    give_up = time.monotonic() + PATIENCE_S
    while SCHEDULER.poll(forgetful, [job_id])[job_id].state is JobState.UNKNOWN:
        assert time.monotonic() < give_up
        time.sleep(0.3)


def test_of_several_nodes_one_that_dies_leaves_the_others_at_work(
    slurm: TestCluster, transport: CountingTransport, submit: Submit
) -> None:
    command = "while [ ! -e stop ]; do echo $SLURMD_NODENAME; sleep 0.5; done; echo finished-$SLURMD_NODENAME"
    job_id, job = submit(command, nodes=2)
    await_state(transport, job_id, JobState.RUNNING)
    give_up = time.monotonic() + PATIENCE_S
    while len(seen := {line for line in printed(job).splitlines() if line in slurm.nodes}) < 2:
        assert time.monotonic() < give_up, printed(job)
        time.sleep(0.2)
    first, second = sorted(seen)  # the batch script runs on the first
    slurm.run("scontrol", "update", f"nodename={second}", "state=down", "reason=test")
    try:
        give_up = time.monotonic() + PATIENCE_S
        while (status := SCHEDULER.poll(transport, [job_id])[job_id]).nodes != first:
            assert time.monotonic() < give_up, status
            time.sleep(0.2)
        assert status.state is JobState.RUNNING
        (Path(job.spool) / "stop").touch()
        status = await_state(transport, job_id, JobState.ENDED)
        assert (status.native_state, status.exit_code) == ("COMPLETED", 0)
        assert f"finished-{first}" in printed(job)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            slurm.run("scontrol", "update", f"nodename={second}", "state=resume")
