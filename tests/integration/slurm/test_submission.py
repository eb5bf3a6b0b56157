"""Each allocation is submitted once, whatever dies in between; work spreads over nodes; a site that is away holds up no
other.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.errors import NotFound
from packhorse.domain.run import AppRun
from packhorse.domain.siteconfig import SiteConfig
from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from packhorse.sites.base import CommandResult
from packhorse.sites.configure import site_from
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.site import Site, local_site
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.room import ROOT, make_app, submit, wait_for
from tests.fixtures.slurm import TestCluster
from tests.fixtures.truth import assert_each_ended_once, executions

DIES_AFTER_SUBMIT = """
import os, signal, sys
from pathlib import Path
from packhorse.sites.schedulers.slurm import SlurmScheduler
from tests.integration.slurm.test_submission import open_room
real = SlurmScheduler.submit
def submit(self, transport, job):
    real(self, transport, job)
    os.kill(os.getpid(), signal.SIGKILL)
SlurmScheduler.submit = submit
with open_room(Path(sys.argv[1]), Path(sys.argv[2])).run_engine():
    signal.pause()
"""


class CountingTransport(LocalTransport):
    """Counts the scheduler's commands."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def run(self, argv: list[str], **how: Any) -> CommandResult:
        self.commands += [word for word in argv if word.startswith("s")][:1]
        return super().run(argv, **how)


def cluster_site(root: Path, **fields: Any) -> Site:
    """The test cluster as a site."""
    options = {"transport": LocalTransport(), **fields}
    return Site("cluster", str(root), scheduler=SlurmScheduler(), python=sys.executable, **options)


def open_room(home: Path, root: Path) -> Embedded:
    """An engine room whose only site is the cluster."""
    return Embedded(home, sites=[cluster_site(root)])


def jobs_of(slurm: TestCluster, room: Embedded) -> list[str]:
    """Every job that the cluster ever had of the room's allocations."""
    with room.database.read() as connection:
        tokens = [row[0] for row in connection.exec_driver_sql("select id from allocations")]
    return [
        job for token in tokens for job in slurm.run("squeue", "-h", "-t", "all", "-o", "%i", f"--name={token}").split()
    ]


def test_an_engine_killed_right_after_submitting_finds_its_job_again(slurm: TestCluster, tmp_path: Path) -> None:
    home, root, witness = tmp_path / "home", slurm.folder("site"), slurm.folder("witness") / "lines"
    room = open_room(home, root)
    run = submit(room, make_app(tmp_path / "app", command=f"[/bin/sh, -c, 'echo $0 >> {witness}', '{{i}}']"), 20)
    killed = subprocess.run([sys.executable, "-c", DIES_AFTER_SUBMIT, home, root], cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(jobs_of(slurm, room)) == 1
    with room.run_engine():
        wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    assert_each_ended_once(room)
    assert executions(witness) == dict.fromkeys(range(20), 1)
    assert len(jobs_of(slurm, room)) == 1
    room.close()


def test_many_tasks_run_on_several_nodes_in_a_handful_of_jobs_and_commands(slurm: TestCluster, tmp_path: Path) -> None:
    transport = CountingTransport()
    room = Embedded(
        tmp_path / "home", sites=[cluster_site(slurm.folder("site"), transport=transport, max_allocations=3)]
    )
    app = make_app(
        tmp_path / "app",
        command="[/bin/sh, -c, 'sleep 0.05; echo $SLURMD_NODENAME']",
        more="outputs: {node: {from: stdout, type: text}}\n",
    )
    with room.run_engine():
        run = submit(room, app, 1000)
        wait_for(lambda: room.mine.run(run.id).ended, 120, "the run's end")
    nodes = {row["result"] for row in room.mine.results(run.id)}
    assert len(nodes) >= 2
    assert nodes <= set(slurm.nodes)
    assert len(jobs_of(slurm, room)) <= 3
    asked = [command for command in transport.commands if command not in ("sh", "setsid")]
    assert len(asked) <= 30, asked
    assert_each_ended_once(room)
    room.close()


def test_one_job_of_several_nodes_has_an_agent_on_each(slurm: TestCluster, tmp_path: Path) -> None:
    room = Embedded(tmp_path / "home", sites=[cluster_site(slurm.folder("site"), max_nodes=3)])
    app = make_app(
        tmp_path / "app",
        command="[/bin/sh, -c, 'sleep 0.2; echo $SLURMD_NODENAME']",
        more="outputs: {node: {from: stdout, type: text}}\n",
    )
    with room.run_engine():
        run = submit(room, app, 400)
        wait_for(lambda: room.mine.run(run.id).ended, 120, "the run's end")
    assert len({row["result"] for row in room.mine.results(run.id)}) >= 2
    assert_each_ended_once(room)
    room.close()


@pytest.fixture
def two_sites(slurm: TestCluster, tmp_path: Path) -> Iterator[Embedded]:
    """This machine, and the cluster over SSH, where Slurm's commands are the login node's."""
    environment = slurm.environment
    config = SiteConfig(
        transport="ssh",
        scheduler="slurm",
        host="127.0.0.1",
        port=int(environment["TESTCLUSTER_SSH_PORT"]),
        python=sys.executable,
        user=environment["TESTCLUSTER_SSH_USER"],
        key_file=Path(environment["TESTCLUSTER_SSH_KEY"]),
        known_hosts=Path(environment["TESTCLUSTER_SSH_KNOWN_HOSTS"]),
        root=slurm.folder("site"),
    )
    far = site_from("far", config, tmp_path)
    room = Embedded(tmp_path / "home", sites=[local_site(str(tmp_path / "site"), linger_s=0.5), far])
    yield room
    room.close()


def test_over_ssh_with_the_login_node_away_for_a_while(slurm: TestCluster, two_sites: Embedded, tmp_path: Path) -> None:
    room = two_sites
    app = make_app(tmp_path / "app", command="[/bin/sh, -c, 'echo out-{i}; sleep 1']")
    with room.run_engine():
        far = submit(room, app, 12, resources={"site": "far"})
        wait_for(lambda: room.mine.run(far.id).done > 0, 60, "the first result")
        slurm.service("kill", "sshd")
        try:
            near = submit(room, app, 4, resources={"site": "local"})
            wait_for(lambda: room.mine.run(near.id).ended, 20, "the end of the run here")
        finally:
            slurm.service("start", "sshd")
        wait_for(lambda: room.mine.run(far.id).ended, 120, "the end of the run there")
        log = room.mine.log(f"{far.id}.7", "stdout")
    assert (log.data, log.ended) == (b"out-7\n", True)
    assert room.mine.run(far.id).counts == {TaskState.COMPLETE: 12}
    assert_each_ended_once(room)


def test_the_log_of_a_running_task_is_read_over_ssh(two_sites: Embedded, tmp_path: Path) -> None:
    room = two_sites
    app = make_app(tmp_path / "app", command="[/bin/sh, -c, 'echo begun; sleep 60']")
    with room.run_engine():
        run = submit(room, app, 1, resources={"site": "far"})
        wait_for(lambda: room.mine.log(f"{run.id}.0", "stdout").data == b"begun\n", 30, "the first line")
        assert room.mine.task(f"{run.id}.0").state is TaskState.RUNNING
        room.mine.cancel_run(run.id)
        wait_for(lambda: room.mine.run(run.id).ended, 30, "the cancel")
    assert room.mine.run(run.id).counts == {TaskState.CANCELED: 1}


def test_files_travel_over_ssh(two_sites: Embedded, tmp_path: Path) -> None:
    """An input that only this machine has (the nodes have a /tmp of their own) is brought once, an output file is
    fetched.
    """
    room = two_sites
    reads = tmp_path / "reads of a sample.fq"
    reads.write_text("ACGT\n")
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.yaml").write_text(
        "packhorse: 1\nname: c\nversion: '1'\ncommand: [/bin/sh, -c, 'cp \"$0\" out.fq; echo {i}', '{reads}']\n"
        "parameters:\n  i: {type: integer}\n  reads: {type: file}\noutputs: {copy: {path: out.fq}}\n"
    )
    with room.run_engine():
        request = AppRun(app=str(folder), resources={"site": "far"})
        run = room.mine.submit(request, ({"i": index, "reads": str(reads)} for index in range(3)))
        wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
        assert room.mine.run(run.id).counts == {TaskState.COMPLETE: 3}
        fetched = room.mine.output_path(f"{run.id}.1", "out.fq")
        with pytest.raises(NotFound, match="no output"):
            room.mine.output_path(f"{run.id}.1", "other.fq")
    assert fetched.read_text() == "ACGT\n"
