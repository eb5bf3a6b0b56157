"""The cluster as its users reach it: every file and command through the SSH server of its login node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.sites.base import Job, JobState, SiteUnreachable
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.script import batch_script
from packhorse.sites.transports.ssh import SshTransport
from packhorse.sites.transports.ssh_options import SshOptions
from tests.fixtures.room import wait_for
from tests.fixtures.slurm import TestCluster


@pytest.fixture
def transport(slurm: TestCluster, tmp_path: Path) -> Iterator[SshTransport]:
    known = slurm.environment
    (tmp_path / "no_config").touch()
    transport = SshTransport(
        SshOptions(
            "127.0.0.1", int(known["TESTCLUSTER_SSH_PORT"]), known["TESTCLUSTER_SSH_USER"], Path(known["TESTCLUSTER_SSH_KEY"]),
            Path(known["TESTCLUSTER_SSH_KNOWN_HOSTS"]), tmp_path / "no_config",
        )
    )  # fmt: skip
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
