"""What every batch scheduler must do, run for real on this machine and on the test cluster."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from packhorse.sites.base import JobState
from packhorse.sites.schedulers.limits import limits_of
from packhorse.sites.schedulers.registry import SCHEDULERS

from .conftest import CASES, SchedulerCase

ODD = ["a b", "$HOME", "'", '"', "", "a\\nb", "`id`", "é", "*"]


def test_every_scheduler_is_tested() -> None:
    assert set(CASES) == set(SCHEDULERS)


def test_a_job_from_submission_to_its_end(case: SchedulerCase) -> None:
    job = case.job("sh", "-c", "echo 'it runs'; while [ ! -e go ]; do sleep 0.1; done; exit 3")
    job_id = case.submit(job)
    assert case.scheduler.find(case.transport, job) == job_id
    running = case.wait(job_id, JobState.RUNNING)
    assert (running.ended_at, running.exit_code, running.failure) == (None, None, None)
    (Path(job.spool) / "go").touch()
    ended = case.wait(job_id, JobState.ENDED)
    assert ended.native_state and ended.reason
    assert case.printed(job) == "it runs\n"
    assert (Path(job.spool) / "job.exit").read_text() == "3\n"
    found = case.scheduler.find(case.transport, job)
    assert found is not None
    assert case.status(found).state is JobState.ENDED


def test_a_submission_does_not_wait_for_the_job(case: SchedulerCase) -> None:
    began = time.monotonic()
    case.submit(case.job("sleep", "60"))
    assert time.monotonic() - began < 20


def test_a_second_submission_of_an_allocation_runs_nothing(case: SchedulerCase) -> None:
    job = case.job("sh", "-c", "echo started")
    case.wait(case.submit(job), JobState.ENDED)
    case.wait(case.submit(job), JobState.ENDED)
    assert case.printed(job) == "started\n"


def test_a_job_that_was_never_submitted_is_not_found(case: SchedulerCase) -> None:
    assert case.scheduler.find(case.transport, case.job("true")) is None


def test_cancel_reaches_the_command_with_sigterm(case: SchedulerCase) -> None:
    job = case.job("sh", "-c", "trap 'echo drained; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    job_id = case.submit(job)
    case.wait(job_id, JobState.RUNNING)
    case.printed(job, "ready")
    case.scheduler.cancel(case.transport, [job_id])
    case.wait(job_id, JobState.ENDED)
    said = case.printed(job).splitlines()
    assert (said[0], said[-1]) == ("ready", "drained")
    case.scheduler.cancel(case.transport, [job_id])  # is gone, and that is fine


def test_commands_do_not_grow_with_the_jobs(case: SchedulerCase) -> None:
    ids = [case.submit(case.job("sleep", "60")) for _ in range(6)]
    counts = []
    for asked in (ids[:1], ids):
        before = case.transport.ran
        statuses = case.scheduler.poll(case.transport, asked)
        assert set(statuses) == set(asked)
        assert {status.state for status in statuses.values()} <= {JobState.PENDING, JobState.RUNNING}
        counts.append(case.transport.ran - before)
    assert counts[0] == counts[1] <= 1
    before = case.transport.ran
    assert case.scheduler.poll(case.transport, []) == {}
    assert case.transport.ran == before


def test_our_own_settings_do_not_reach_a_job(case: SchedulerCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_TOKEN", "secret")
    job = case.job("env")
    case.wait(case.submit(job), JobState.ENDED)
    assert "PATH=" in case.printed(job)
    assert "secret" not in case.printed(job)


def test_odd_characters_in_folders_and_arguments_survive(case: SchedulerCase) -> None:
    job = case.job("printf", "[%s]", *ODD, folder="it's a 'folder' $(touch x) `y` 100%j")
    case.wait(case.submit(job), JobState.ENDED)
    assert case.printed(job) == "".join(f"[{word}]" for word in ODD)


def test_it_tells_what_there_is_and_that_can_be_had(case: SchedulerCase) -> None:
    found = case.scheduler.describe(case.transport)
    default = found.queue(case.scheduler.queue)
    assert default is not None and default.is_up and default.nodes > 0
    limits = limits_of(found, case.scheduler.queue)[0]
    assert (limits.queue or "") == default.name
    job = case.job("true")
    asked = replace(job, cores=limits.cores, memory_mb=limits.memory_mb // 2, walltime_s=limits.usual_walltime_s)
    case.wait(case.submit(asked), JobState.ENDED)
    assert (Path(job.spool) / "job.exit").read_text() == "0\n"
