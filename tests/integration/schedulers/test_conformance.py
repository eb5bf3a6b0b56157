"""What every batch scheduler must do, run for real on this machine and on the test cluster."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from packhorse.sites.base import JobState
from packhorse.sites.schedulers.limits import limits_of
from packhorse.sites.schedulers.registry import SCHEDULERS

from .conftest import CASES, Place

ODD = ["a b", "$HOME", "'", '"', "", "a\\nb", "`id`", "é", "*"]


def test_every_scheduler_is_tested() -> None:
    assert set(CASES) == set(SCHEDULERS)


def test_a_job_from_submission_to_its_end(place: Place) -> None:
    job = place.job("sh", "-c", "echo 'it runs'; while [ ! -e go ]; do sleep 0.1; done; exit 3")
    job_id = place.submit(job)
    assert place.scheduler.find(place.transport, job) == job_id
    running = place.wait(job_id, JobState.RUNNING)
    assert (running.ended_at, running.exit_code, running.failure) == (None, None, None)
    (Path(job.spool) / "go").touch()
    ended = place.wait(job_id, JobState.ENDED)
    assert ended.native_state and ended.reason
    assert place.printed(job) == "it runs\n"
    assert (Path(job.spool) / "job.exit").read_text() == "3\n"
    found = place.scheduler.find(place.transport, job)
    assert found is not None
    assert place.status(found).state is JobState.ENDED


def test_a_submission_does_not_wait_for_the_job(place: Place) -> None:
    began = time.monotonic()
    place.submit(place.job("sleep", "60"))
    assert time.monotonic() - began < 20


def test_a_second_submission_of_an_allocation_runs_nothing(place: Place) -> None:
    job = place.job("sh", "-c", "echo started")
    place.wait(place.submit(job), JobState.ENDED)
    place.wait(place.submit(job), JobState.ENDED)
    assert place.printed(job) == "started\n"


def test_a_job_that_was_never_submitted_is_not_found(place: Place) -> None:
    assert place.scheduler.find(place.transport, place.job("true")) is None


def test_cancel_reaches_the_command_with_sigterm(place: Place) -> None:
    job = place.job("sh", "-c", "trap 'echo drained; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    job_id = place.submit(job)
    place.wait(job_id, JobState.RUNNING)
    place.printed(job, "ready")
    place.scheduler.cancel(place.transport, [job_id])
    place.wait(job_id, JobState.ENDED)
    said = place.printed(job).splitlines()
    assert (said[0], said[-1]) == ("ready", "drained")
    place.scheduler.cancel(place.transport, [job_id])  # is gone, and that is fine


def test_commands_do_not_grow_with_the_jobs(place: Place) -> None:
    ids = [place.submit(place.job("sleep", "60")) for _ in range(6)]
    counts = []
    for asked in (ids[:1], ids):
        before = place.transport.ran
        statuses = place.scheduler.poll(place.transport, asked)
        assert set(statuses) == set(asked)
        assert {status.state for status in statuses.values()} <= {JobState.PENDING, JobState.RUNNING}
        counts.append(place.transport.ran - before)
    assert counts[0] == counts[1] <= 1
    before = place.transport.ran
    assert place.scheduler.poll(place.transport, []) == {}
    assert place.transport.ran == before


def test_our_own_settings_do_not_reach_a_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_TOKEN", "secret")
    job = place.job("env")
    place.wait(place.submit(job), JobState.ENDED)
    assert "PATH=" in place.printed(job)
    assert "secret" not in place.printed(job)


def test_odd_characters_in_folders_and_arguments_survive(place: Place) -> None:
    job = place.job("printf", "[%s]", *ODD, folder="it's a 'folder' $(touch x) `y` 100%j")
    place.wait(place.submit(job), JobState.ENDED)
    assert place.printed(job) == "".join(f"[{word}]" for word in ODD)


def test_it_tells_what_there_is_and_that_can_be_had(place: Place) -> None:
    found = place.scheduler.describe(place.transport)
    default = found.queue(place.scheduler.queue)
    assert default is not None and default.is_up and default.nodes > 0
    limits = limits_of(found, place.scheduler.queue)[0]
    assert (limits.queue or "") == default.name
    job = place.job("true")
    asked = replace(job, cores=limits.cores, memory_mb=limits.memory_mb // 2, walltime_s=limits.usual_walltime_s)
    place.wait(place.submit(asked), JobState.ENDED)
    assert (Path(job.spool) / "job.exit").read_text() == "0\n"
