"""Containers in jobs of a real cluster: they stay in the job, are limited and measured there, and die with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.states import TaskState
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.site import Site
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.room import wait_for
from tests.fixtures.slurm import TestCluster
from tests.integration.images.rooms import KINDS, Room, container_site, opened
from tests.integration.runtimes.harness import processes_of

__all__ = ["registry"]

MB = 1_000_000


@pytest.fixture(params=KINDS)
def room(request: pytest.FixtureRequest, slurm: TestCluster, registry: TestRegistry, tmp_path: Path) -> Iterator[Room]:
    """Each runtime at the cluster."""
    root = str(slurm.folder("site"))
    site = Site(
        "cluster", root, LocalTransport(), SlurmScheduler(), python=sys.executable, poll_s=(0.5, 3.0),
        runtime=container_site(request.param, Path(root)).runtime,
    )  # fmt: skip
    with opened(site, tmp_path / "home", registry.address, default=registry.address) as made:
        yield made


def test_out_of_memory_is_the_tasks_and_peaks_are_right(slurm: TestCluster, room: Room) -> None:
    """One of three wants more than its limit.

    Slurm's own record says that the job went on, and held what its tasks held.
    """
    script = "dd if=/dev/zero of=/dev/null count=1 bs=$(test $0 = 1 && echo 300M || echo 80M)"
    app = room.app(
        "packhorse/box:1",
        f"[sh, -c, '{script}', '{{i}}']",
        more="resources: {ram_gb: 0.2}\nretry: {out_of_memory: 0}\n",
    )
    run = room.submit(app, 3)
    assert room.end(run, 90) == {TaskState.COMPLETE: 2, TaskState.EXECUTOR_ERROR: 1}
    over_limit = room.task(run, 1)
    assert (over_limit.failure, over_limit.attempts[0].site) == ("out_of_memory", "cluster")
    assert "memory limit of 0.2 GB" in (over_limit.reason or "")
    for index in (0, 2):
        peak = room.task(run, index).attempts[0].peak_memory or 0
        assert 75 * MB < peak < 160 * MB


def test_a_job_out_of_memory_is_that_of_the_container_which_ate_it(room: Room) -> None:
    """A task without a limit of its own, in a job of 300 MB: its container does not leave the job's cgroup."""
    room.embedded.sites[0].scheduler = SlurmScheduler(SchedulerOptions(extra=("--mem=300M",)))
    app = room.app("packhorse/box:1", "[dd, if=/dev/zero, of=/dev/null, count=1, bs=900M]")
    run = room.submit(app, retry={"out_of_memory": 0, "node_lost": 0})
    assert room.end(run, 90) == {TaskState.EXECUTOR_ERROR: 1}
    assert room.task(run).failure == "out_of_memory"


def test_a_job_that_somebody_cancels_takes_its_containers_along(slurm: TestCluster, room: Room) -> None:
    marker = str(400_000_000 + os.getpid())
    run = room.submit(
        room.app("packhorse/box:1", f"[sh, -c, 'sleep {marker} & exec sleep {marker}']"), retry={"preempted": 0}
    )
    wait_for(lambda: len(processes_of("sleep", marker)) == 2, 60, "the container's processes")
    slurm.run("scancel", "--name", next(Path(room.embedded.sites[0].root, "spool").iterdir()).name)
    assert room.end(run, 60) == {TaskState.PREEMPTED: 1}
    wait_for(lambda: not processes_of("sleep", marker), 15, "the end of its processes")
