"""MPI programs whose ranks Packhorse starts: on several nodes of a real cluster, on the host and in containers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.run import NamedTask, TaskRun
from packhorse.domain.task import Executor, Output, Task, TesResources
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.site import Site
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.slurm import TestCluster
from tests.integration.images.rooms import Room, container_site, opened

__all__ = ["registry"]

SAYS = 'echo "$SLURM_PROCID $(cat /proc/sys/kernel/hostname) $PACKHORSE_TASK $FROM_IMAGE"'
WORDS = {"none": 3, "charliecloud": 4}  # FROM_IMAGE is the image's


@pytest.fixture(params=sorted(WORDS))
def room(request: pytest.FixtureRequest, slurm: TestCluster, registry: TestRegistry, tmp_path: Path) -> Iterator[Room]:
    """The cluster, with and without a container runtime."""
    root = str(slurm.folder("site"))
    site = Site(
        "cluster", root, LocalTransport(), SlurmScheduler(), python=sys.executable, poll_s=(0.5, 3.0),
        runtime=container_site(request.param, Path(root)).runtime,
    )  # fmt: skip
    with opened(site, tmp_path / "home", registry.address, default=registry.address) as made:
        yield made


def check(room: Room, said: str) -> None:
    """Four ranks, two on each of two nodes, each of which knows its own number, and its task."""
    lines = [line.split() for line in said.splitlines()]
    assert {len(words) for words in lines} == {WORDS[room.embedded.sites[0].runtime.name]}
    assert sorted(words[0] for words in lines) == ["0", "1", "2", "3"]
    hosts = [words[1] for words in lines]
    assert sorted(map(hosts.count, set(hosts))) == [2, 2]
    assert len({words[2] for words in lines}) == 1


def test_a_command_is_started_on_every_rank(room: Room) -> None:
    more = (
        "resources: {nodes: 2, cpu_cores: 2, ranks_per_node: 2, launch: ranks}\noutputs: {said: {from: stdout, type:"
        " text}}\n"
    )
    app = room.app("packhorse/box:1", f"[sh, -c, '{SAYS}']", more=more)
    run = room.submit(app, image=None if room.embedded.sites[0].runs_images else "none")
    room.complete(run, 90)
    check(room, room.results(run)[0])


def test_a_rank_may_end_before_another_on_its_node_starts(room: Room) -> None:
    late = ("sh", "-c", 'sleep $SLURM_LOCALID; exec "$@"', "sh")
    room.embedded.sites[0].launcher = (*SlurmScheduler.launcher, *late)
    more = "resources: {nodes: 1, cpu_cores: 2, ranks_per_node: 2, launch: ranks}\n"
    run = room.submit(
        room.app("packhorse/box:1", "['true']", more=more), image=None if room.embedded.sites[0].runs_images else "none"
    )
    room.complete(run, 90)


def test_so_is_a_tes_executor(room: Room) -> None:
    backend = {"nodes": "2", "ranks_per_node": "2", "launch": "ranks"}
    image = "packhorse/box:1" if room.embedded.sites[0].runs_images else None
    task = Task(
        executors=[Executor(image=image, command=["sh", "-c", SAYS], stdout="said")], outputs=[Output(path="said")],
        resources=TesResources(cpu_cores=2, backend_parameters=backend),
    )  # fmt: skip
    run = room.embedded.mine.submit(TaskRun(tasks=[NamedTask(name="t", task=task)]))
    room.complete(run, 90)
    [file] = [file for file in room.task(run).attempts[0].files if file["path"] == "said"]
    check(room, Path(room.embedded.sites[0].output_folder(run.id, 0), file["path"]).read_text())
