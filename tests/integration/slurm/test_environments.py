"""What a job of Slurm and its tasks see: what their site and their app say, and nothing of whoever submitted them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.room import make_app
from tests.fixtures.slurm import TestCluster

#: Of an outer job, which would turn down or change every job and command of Slurm's that read it.
OUTER = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOBID": "4711",
    "SLURM_NODELIST": "nowhere",
    "SLURM_NTASKS": "99",
    "SLURM_MEM_PER_NODE": "1",
    "SBATCH_PARTITION": "gone",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_TIMELIMIT": "nonsense",
    "SRUN_DEBUG": "9",
    "SQUEUE_FORMAT": "%i",
    "SACCT_FORMAT": "jobid",
    "SLURM_TIME_FORMAT": "relative",
    "PMI_RANK": "1",
    "PMIX_RANK": "1",
    "OMPI_COMM_WORLD_RANK": "1",
    "PACKHORSE_TASK": "7",
}
OURS = {
    "AWS_SECRET_ACCESS_KEY": "s",
    "VIRTUAL_ENV": "/venv",
    "PYTHONPATH": "/nowhere",
    "TMPDIR": "/var/tmp",
    "CUDA_VISIBLE_DEVICES": "9",
}
SEES = [sys.executable, "-I", "-S", "-c", "import os, json; print(json.dumps(dict(os.environ)))"]
SAID = "outputs: {said: {from: stdout, type: json}}\n"
SITE = """
[sites.there]
scheduler = "slurm"
root = "%(root)s"
python = "%(python)s"
linger_s = 1
env = {OF_THE_SITE = "s"}
env_pass = ["OF_THE_LAB"]
%(more)s
"""


def seen_by_a_task(slurm: TestCluster, folder: Path, *, way: str, resources: str = "", **more: str) -> dict[str, str]:
    """The environment of one task, of a ``packhorse run`` inside a job."""
    known = slurm.environment
    login = (
        f'transport = "ssh"\nhost = "127.0.0.1"\nport = {known["TESTCLUSTER_SSH_PORT"]}\nuser ='
        f' "{known["TESTCLUSTER_SSH_USER"]}"\nkey_file = "{known["TESTCLUSTER_SSH_KEY"]}"\nknown_hosts ='
        f' "{known["TESTCLUSTER_SSH_KNOWN_HOSTS"]}"\n'
    )
    config = folder / "packhorse.toml"
    config.write_text(
        SITE % {"root": slurm.folder("site"), "python": sys.executable, "more": login if way == "ssh" else ""}
    )
    paths = {"PACKHORSE_HOME": str(folder / "home"), "PACKHORSE_CONFIG": str(config)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
    environment = {**kept, **OUTER, **OURS, "OF_THE_LAB": "passed", **paths, **more}
    app = make_app(folder / "app", command=json.dumps(SEES), more=SAID + resources)
    command = [sys.executable, "-m", "packhorse.cli.main"]
    done = subprocess.run(
        [*command, "run", app, "--set", "i=1", "--site", "there", "--json"],
        env=environment,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = [*command, "results", json.loads(done.stdout)["run"]["id"], "--json"]
    return dict(json.loads(subprocess.run(results, env=environment, capture_output=True, check=True).stdout)["result"])


@pytest.mark.parametrize("way", ["local", "ssh"])
def test_a_job_inherits_nothing_of_the_process_that_submits_it(slurm: TestCluster, tmp_path: Path, way: str) -> None:
    seen = seen_by_a_task(slurm, tmp_path, way=way)
    assert not (OUTER.keys() | OURS.keys()) & seen.keys() - {"PACKHORSE_TASK", "TMPDIR"}
    assert seen.get("TMPDIR") != OURS["TMPDIR"], "a node's own is Slurm's to say"
    assert not [name for name in seen if name.startswith(("SLURM_", "SBATCH_", "PMI", "OMPI"))]
    assert seen["OF_THE_SITE"] == "s" and seen["PACKHORSE_TASK"] != "7"
    assert ("OF_THE_LAB" in seen) == (way == "local"), "what a login there has passes from there"


def test_a_task_over_nodes_sees_its_own_job(slurm: TestCluster, tmp_path: Path) -> None:
    seen = seen_by_a_task(slurm, tmp_path, way="local", resources="resources: {nodes: 2}\n")
    assert seen["SLURM_JOB_NUM_NODES"] == "2" and seen["SLURM_JOB_ID"] not in ("4711", "")
    assert not {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SBATCH_PARTITION", "SRUN_DEBUG"} & seen.keys()
