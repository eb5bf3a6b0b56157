"""Results of earlier tasks that ran as jobs of the cluster, taken through the SSH server of a login that prints; and of
tasks that ran in containers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.run import AppRun
from packhorse.domain.siteconfig import SiteConfig
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.sites.configure import site_from
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.site import Site
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.pipelines import samples, write_expression
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.room import wait_for
from tests.fixtures.slurm import TestCluster
from tests.fixtures.sshd import NOISE, SshServer
from tests.fixtures.truth import assert_each_ended_once
from tests.integration.images.rooms import KINDS, container_site, opened

__all__ = ["registry"]


@pytest.fixture
def far(slurm: TestCluster, home: Path, tmp_path: Path) -> Iterator[Embedded]:
    """The cluster through SSH; its login's shell prints before and after every command."""
    noise = NOISE.replace("{shell} -c", f"export SLURM_CONF={slurm.environment['SLURM_CONF']}\n{{shell}} -c")
    server = SshServer(tmp_path / "sshd", noisy="tcsh", noise=noise)
    server.start()
    options = server.options()
    config = SiteConfig(
        transport="ssh", scheduler="slurm", host=options.host, port=options.port, key_file=options.key_file,
        root=slurm.folder("reuse"), known_hosts=options.known_hosts, ssh_config=options.config_file,
        python=sys.executable,
    )  # fmt: skip
    site = site_from("far", config, home)
    site.linger_s = 0.5
    room = Embedded(home, sites=[site])
    try:
        with room.run_engine():
            yield room
        assert_each_ended_once(room)
    finally:
        room.close()
        server.stop()


def executed(room: Embedded, run: RunView, seconds: float = 180) -> dict[str, int]:
    """By step, how many tasks of a run that has ended were executed."""
    wait_for(lambda: room.mine.run(run.id).ended, seconds, "the run's end")
    found: dict[str, int] = {}
    for task in room.mine.tasks(run.id).items:
        assert task.state == TaskState.COMPLETE, task.reason
        if room.mine.task(task.id).attempts:
            found[task.step] = found.get(task.step, 0) + 1
    return found


def test_through_ssh_only_what_a_changed_sample_concerns_is_executed(far: Embedded, tmp_path: Path) -> None:
    pipeline, rows = write_expression(tmp_path / "p"), samples(tmp_path, "a", "bb", "ccc")
    request = AppRun(app=str(pipeline), over=rows, params={"genome": str(tmp_path / "genome.txt")}, reuse=True)

    def run() -> RunView:
        return far.mine.submit(request)

    first = run()
    assert executed(far, first) == {"index": 1, "align": 3, "count": 3, "matrix": 1}
    second = run()
    assert executed(far, second) == {}
    left = Path(far.sites[0].output_folder(first.id, 1), "a.bam")
    taken = Path(far.sites[0].output_folder(second.id, 1), "a.bam")
    assert taken.samefile(left)
    Path(rows[1]["reads"]).write_text("b c d\n")
    assert executed(far, run()) == {"align": 1, "count": 1, "matrix": 1}
    left.write_text("damaged\n")
    assert executed(far, run()) == {"align": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_executed_in_a_container_of_a_job_is_taken(
    slurm: TestCluster, registry: TestRegistry, tmp_path: Path, kind: str
) -> None:
    root = str(slurm.folder("site"))
    runtime = container_site(kind, Path(root)).runtime
    site = Site(
        "cluster", root, LocalTransport(), SlurmScheduler(), python=sys.executable, poll_s=(0.5, 3.0), runtime=runtime
    )
    with opened(site, tmp_path / "home", registry.address, default=registry.address) as room:
        app = room.app("packhorse/box:1", "[sh, -c, 'echo $0 > out', '{i}']", more="outputs:\n  out: {path: out}\n")
        runs = [room.submit(app, 3, reuse=True)]
        room.complete(runs[0], 120)
        runs.append(room.submit(app, 4, reuse=True))
        room.complete(runs[1], 120)
        assert [len(room.task(runs[1], index).attempts) for index in range(4)] == [0, 0, 0, 1]
        assert room.embedded.mine.output_path(f"{runs[1].id}.2", "out").read_text() == "2\n"
