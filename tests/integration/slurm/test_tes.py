"""TES tasks on a real cluster."""

from __future__ import annotations

import sys
from pathlib import Path

from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.site import Site
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.slurm import TestCluster
from tests.fixtures.tes import TesServer


def test_tasks_run_in_jobs_and_tell_where(slurm: TestCluster, tmp_path: Path) -> None:
    site = Site(
        "cluster", str(slurm.folder("site")), LocalTransport(), SlurmScheduler(), python=sys.executable,
        poll_s=(0.5, 3.0),
    )  # fmt: skip
    server = TesServer(tmp_path / "home", sites=[site])
    executors = [{"command": ["sh", "-c", "echo $SLURMD_NODENAME > node"]}, {"command": ["cat", "node"]}]
    document = {"executors": executors, "resources": {"backend_parameters": {"Site": "cluster", "nodes": "1"}}}
    with server.room.run_engine():
        ended = [server.end(task, 120) for task in [server.create(document), server.create(document)]]
    assert [task["state"] for task in ended] == ["COMPLETE", "COMPLETE"]
    for task in ended:
        [log] = task["logs"]
        assert log["metadata"]["site"] == "cluster" and log["metadata"]["job_id"].isdigit()
        assert [one["exit_code"] for one in log["logs"]] == [0, 0]
    server.close()
