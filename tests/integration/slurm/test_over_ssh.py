"""The cluster as its users reach it: every file and command through the SSH server of its login node."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.run import NamedTask, TaskRun
from packhorse.domain.siteconfig import SiteConfig
from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.newsite import NewSite
from packhorse.sites.base import Job, JobState, SiteUnreachable
from packhorse.sites.configure import site_from
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.script import batch_script
from packhorse.sites.transports.ssh import SshTransport
from packhorse.sites.transports.ssh_options import SshOptions
from tests.fixtures.room import wait_for
from tests.fixtures.slurm import TestCluster
from tests.fixtures.sshd import NOISE, SshServer


@pytest.fixture
def transport(slurm: TestCluster, tmp_path: Path) -> Iterator[SshTransport]:
    known = slurm.environment
    (tmp_path / "no_config").touch()
    transport = SshTransport(
        SshOptions(
            "127.0.0.1",
            int(known["TESTCLUSTER_SSH_PORT"]),
            known["TESTCLUSTER_SSH_USER"],
            Path(known["TESTCLUSTER_SSH_KEY"]),
            Path(known["TESTCLUSTER_SSH_KNOWN_HOSTS"]),
            tmp_path / "no_config",
        )
    )
    yield transport
    transport.close()


def test_a_job_from_here_to_there_and_back(
    slurm: TestCluster, transport: SshTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "nowhere"))  # this machine knows of no cluster
    scheduler = SlurmScheduler()
    spool = str(slurm.folder("ssh") / "a spool")
    transport.make_folder(f"{spool}/journal")
    command = ["sh", "-c", "echo '{}' > journal/0.jsonl; exit 3"]
    transport.write(f"{spool}/job.sh", batch_script("t-ssh", spool, command).encode())
    job = Job(f"ssh-{time.time_ns()}", spool, f"{spool}/job.sh", 1, 100, 300)
    job_id = scheduler.submit(transport, job)
    assert scheduler.find(transport, job) == job_id
    wait_for(lambda: scheduler.poll(transport, [job_id])[job_id].state is JobState.ENDED, 60, "the end of the job")
    assert transport.names(f"{spool}/journal") == ["0.jsonl"]
    assert (transport.read(f"{spool}/journal/0.jsonl"), transport.read(f"{spool}/job.exit")) == (b"{}\n", b"3\n")
    assert scheduler.describe(transport).queues


def test_a_login_node_that_is_rebooted(slurm: TestCluster, transport: SshTransport) -> None:
    assert transport.run(["squeue", "--me"]).exit_code == 0
    slurm.service("kill", "sshd")
    try:
        with pytest.raises(SiteUnreachable):
            SlurmScheduler().poll(transport, ["1"])
    finally:
        slurm.service("start", "sshd")
    assert wait_for(lambda: _squeue(transport), 30, "the login node")


def _squeue(transport: SshTransport) -> bool:
    try:
        return transport.run(["squeue", "--me"]).exit_code == 0
    except SiteUnreachable:
        return False


def test_a_run_and_its_delivery_through_a_login_that_prints(slurm: TestCluster, home: Path, tmp_path: Path) -> None:
    """Its shell is csh's kind, and prints before and after every command, and before the files."""
    noise = NOISE.replace("{shell} -c", f"export SLURM_CONF={slurm.environment['SLURM_CONF']}\n{{shell}} -c")
    server = SshServer(tmp_path / "sshd", noisy="tcsh", noise=noise)
    server.start()
    options, root = server.options(), slurm.folder("noisy")
    config = SiteConfig(
        transport="ssh", scheduler="slurm", host=options.host, port=options.port, key_file=options.key_file, root=root,
        known_hosts=options.known_hosts, ssh_config=options.config_file, python=sys.executable,
    )  # fmt: skip
    site = site_from("noisy", config, home)
    site.linger_s = 0.5
    try:
        new = NewSite("noisy", config, home)
        assert [queue.name for queue in new.queues() if queue.is_default] == ["debug"]
        assert [check for check in new.checks(config) if not check.ok] == []
        room = Embedded(home, sites=[site])
        task = {
            "executors": [
                {"command": ["/bin/sh", "-c", "echo said; mkdir d; echo one > d/a; echo \"it's two\" > 'd/b c'"]}
            ],
            "outputs": [{"path": "d", "url": f"file://{tmp_path}/out", "type": "DIRECTORY"}],
        }
        with room.run_engine():
            run = room.mine.submit(TaskRun(tasks=[NamedTask.model_validate({"name": "t", "task": task})]))
            wait_for(lambda: room.mine.run(run.id).ended, 120, "the run")
        assert room.mine.run(run.id).counts == {TaskState.COMPLETE: 1}
        room.close()
        assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
            "a": "one\n",
            "b c": "it's two\n",
        }
    finally:
        server.stop()
