"""Each batch scheduler where its jobs can be run: on this machine, and on the test cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from packhorse.sites.base import CommandResult, Job, JobState, JobStatus, Scheduler
from packhorse.sites.schedulers.registry import scheduler
from packhorse.sites.script import batch_script
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.slurm import TestCluster, slurm

__all__ = ["slurm"]

PATIENCE_S = 60.0
CASES = {"local": (), "slurm": (pytest.mark.cluster,)}


class CountingTransport(LocalTransport):
    """Counts the commands that it runs."""

    ran = 0

    def run(self, argv: list[str], **how: Any) -> CommandResult:
        self.ran += 1
        return super().run(argv, **how)


@dataclass
class SchedulerCase:
    """A scheduler under test, and a folder that its nodes see."""

    scheduler: Scheduler
    root: Path
    transport: CountingTransport = field(default_factory=CountingTransport)
    _submitted: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def job(self, *command: str, folder: str = "") -> Job:
        """A job that runs ``command`` as an agent is run, by Packhorse's own batch script."""
        name = f"{self.root.name}-{next(self._numbers)}"
        spool = self.root / name / folder
        spool.mkdir(parents=True)
        argv = self.scheduler.agent_command(1, 1, [*command])
        script = spool / "job.sh"
        script.write_text(batch_script(name, str(spool), argv, forwards_sigterm=self.scheduler.signals_only_script))
        return Job(name, str(spool), str(script), 1, 100, 300.0)

    def submit(self, job: Job) -> str:
        """Its id. It is ended after the test, whatever comes of it."""
        self._submitted.append(self.scheduler.submit(self.transport, job))
        return self._submitted[-1]

    def status(self, job_id: str) -> JobStatus:
        """What the scheduler says of one job."""
        return self.scheduler.poll(self.transport, [job_id])[job_id]

    def wait(self, job_id: str, state: JobState) -> JobStatus:
        """The first status with this state."""
        give_up = time.monotonic() + PATIENCE_S
        while (status := self.status(job_id)).state is not state:
            assert time.monotonic() < give_up, f"{job_id} is not {state} but {status}"
            time.sleep(0.1)
        return status

    def printed(self, job: Job, words: str = "") -> str:
        """What it printed, once ``words`` are in it."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                said = (Path(job.spool) / "job.out").read_text()
            except FileNotFoundError:
                said = ""
            if words in said:
                return said
            assert time.monotonic() < give_up, f"{words!r} is not in {said!r}"
            time.sleep(0.1)

    def end(self) -> None:
        """Cancels what is left."""
        self.scheduler.cancel(self.transport, self._submitted)


@pytest.fixture(params=[pytest.param(name, marks=marks) for name, marks in CASES.items()])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SchedulerCase]:
    """One scheduler."""
    root = tmp_path / "jobs"
    if request.param == "slurm":
        cluster: TestCluster = request.getfixturevalue("slurm")
        root = cluster.folder("conforms")
    root.mkdir(exist_ok=True)
    made = SchedulerCase(scheduler(request.param), root)
    yield made
    made.end()
