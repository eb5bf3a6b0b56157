"""Slurm behind a site's own wrappers: each command prints checks and greetings, and sbatch has lost --parsable."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from packhorse.sites.base import Job, JobState
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.script import batch_script
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.room import wait_for
from tests.fixtures.slurm import TestCluster

WRAPPER = """\
#!/bin/bash
echo '   Welcome to the Frost3 Supercomputer'
echo '--> Verifying valid submit host (login4)...OK | 17'
echo '{name}: Warning: 4711 hours are left' >&2
words=()
for word; do [ "$word" = --parsable ] || words+=("$word"); done
{real} "${{words[@]}}"
code=$?
echo 'Have a nice day: error-free since 2019'
exit $code
"""


@pytest.fixture
def wrapped(slurm: TestCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands are wrapped."""
    for name in ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel"):
        (tmp_path / name).write_text(WRAPPER.format(name=name, real=shutil.which(name)))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_a_job_through_wrappers(slurm: TestCluster, wrapped: None) -> None:
    transport, scheduler = LocalTransport(), SlurmScheduler()
    spool = str(slurm.folder("wrapped"))
    transport.write(f"{spool}/job.sh", batch_script("t-wrapped", spool, ["sh", "-c", "sleep 1; exit 3"]).encode())
    job = Job(f"wrapped-{time.time_ns()}", spool, f"{spool}/job.sh", 1, 100, 300)
    assert "Welcome" in transport.run(["squeue"]).stdout
    assert scheduler.find(transport, job) is None
    job_id = scheduler.submit(transport, job)
    assert scheduler.find(transport, job) == job_id
    status = wait_for(
        lambda: (found := scheduler.poll(transport, [job_id])[job_id]).state is JobState.ENDED and found, 60, "the end"
    )
    assert (status.native_state, status.exit_code, transport.read(f"{spool}/job.exit")) == ("COMPLETED", 0, b"3\n")
    assert [queue.name for queue in scheduler.describe(transport).queues if queue.is_default] == ["debug"]
    scheduler.cancel(transport, [job_id])
