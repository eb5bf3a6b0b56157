"""The local 'batch scheduler', with real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.sites.base import Job, JobState, JobStatus
from packhorse.sites.schedulers.local import LocalScheduler
from packhorse.sites.script import batch_script
from packhorse.sites.transports.local import LocalTransport

TRANSPORT = LocalTransport()
SCHEDULER = LocalScheduler()


@pytest.fixture
def started() -> Iterator[list[str]]:
    """Job ids to end after the test."""
    job_ids: list[str] = []
    yield job_ids
    for job_id in job_ids:
        try:
            os.killpg(int(job_id.split(":")[0]), signal.SIGKILL)
        except ProcessLookupError:
            pass


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


def test_submission_does_not_wait_for_the_job(tmp_path: Path, started: list[str]) -> None:
    began = time.monotonic()
    started.append(SCHEDULER.submit(TRANSPORT, job(tmp_path, ["sleep", "60"])))
    assert time.monotonic() - began < 5
    assert SCHEDULER.poll(TRANSPORT, started)[started[0]].state is JobState.RUNNING


def test_a_second_submission_of_one_allocation_starts_nothing(tmp_path: Path) -> None:
    mine = job(tmp_path, ["sh", "-c", "echo started"])
    first = SCHEDULER.submit(TRANSPORT, mine)
    status_at_end(first)
    second = SCHEDULER.submit(TRANSPORT, mine)
    status_at_end(second)
    assert (tmp_path / "job.out").read_text() == "started\n"


def test_a_job_is_found_by_its_token(tmp_path: Path, started: list[str]) -> None:
    mine = job(tmp_path, ["sleep", "60"])
    assert SCHEDULER.find(TRANSPORT, mine) is None
    started.append(SCHEDULER.submit(TRANSPORT, mine))
    assert SCHEDULER.find(TRANSPORT, mine) == started[0]


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


def test_our_own_settings_do_not_reach_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_TOKEN", "secret")
    status_at_end(SCHEDULER.submit(TRANSPORT, job(tmp_path, ["env"])))
    assert "secret" not in (tmp_path / "job.out").read_text()


def test_odd_characters_in_folders_and_arguments_survive(tmp_path: Path) -> None:
    folder = tmp_path / "it's a 'folder' $(touch x) `y`"
    folder.mkdir()
    status_at_end(SCHEDULER.submit(TRANSPORT, job(folder, ["printf", "%s|", "a b", "$HOME", "'", '"'])))
    assert (folder / "job.out").read_text() == "a b|$HOME|'|\"|"
