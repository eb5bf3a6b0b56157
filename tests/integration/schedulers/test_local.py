"""What only the scheduler of this machine has: pids, exit codes of killed processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from packhorse.sites.base import Job, JobState, JobStatus
from packhorse.sites.schedulers.local import LocalScheduler
from packhorse.sites.script import batch_script
from packhorse.sites.transports.local import LocalTransport

TRANSPORT = LocalTransport()
SCHEDULER = LocalScheduler()


def job(tmp_path: Path, command: list[str]) -> Job:
    script = tmp_path / "job.sh"
    script.write_text(batch_script("a-1", str(tmp_path), command))
    return Job("a-1", str(tmp_path), str(script), 1, None, None)


def status_at_end(job_id: str) -> JobStatus:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        status = SCHEDULER.poll(TRANSPORT, [job_id])[job_id]
        if status.state is JobState.ENDED:
            return status
        time.sleep(0.02)
    raise AssertionError("the job did not end")


def test_a_job_runs_and_its_exit_code_is_known(tmp_path: Path) -> None:
    job_id = SCHEDULER.submit(TRANSPORT, job(tmp_path, ["sh", "-c", "echo 'it is done'; exit 3"]))
    status = status_at_end(job_id)
    assert (status.exit_code, (tmp_path / "job.out").read_text()) == (3, "it is done\n")


def test_a_pid_that_belongs_to_another_program_is_not_the_job(tmp_path: Path) -> None:
    mine = job(tmp_path, ["true"])
    (tmp_path / "job.pid").write_text(f"{os.getpid()}\n")
    job_id = SCHEDULER.find(TRANSPORT, mine)
    assert job_id is not None
    assert SCHEDULER.poll(TRANSPORT, [job_id])[job_id].state is JobState.ENDED


def test_a_killed_job_has_ended_without_an_exit_code(tmp_path: Path) -> None:
    job_id = SCHEDULER.submit(TRANSPORT, job(tmp_path, ["sleep", "60"]))
    os.killpg(int(job_id.split(":")[0]), signal.SIGKILL)
    status = status_at_end(job_id)
    assert status.exit_code is None
    assert "killed" in status.reason


def test_cancel_reaches_the_program_with_sigterm(tmp_path: Path) -> None:
    command = ["sh", "-c", 'trap "echo terminated; exit 7" TERM; echo ready; while :; do sleep 0.05; done']
    job_id = SCHEDULER.submit(TRANSPORT, job(tmp_path, command))
    while "ready" not in (tmp_path / "job.out").read_text():
        time.sleep(0.02)
    SCHEDULER.cancel(TRANSPORT, [job_id])
    assert status_at_end(job_id).exit_code == 7
