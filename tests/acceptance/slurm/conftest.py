"""The real cluster as two sites of a user's configuration, by this machine's own commands and over SSH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.fixtures.slurm import TestCluster, slurm

__all__ = ["slurm"]

SITE = """
[sites.{name}]
scheduler = "slurm"
root = "{root}"
python = "{python}"
{more}
[sites.{name}.env]
PATH = "{path}"
"""


@pytest.fixture
def cluster_sites(slurm: TestCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration with the sites 'testcluster' and 'testcluster-ssh'."""
    environment = slurm.environment
    ssh = "\n".join(
        [
            'transport = "ssh"', 'host = "127.0.0.1"', f"port = {environment['TESTCLUSTER_SSH_PORT']}",
            f'user = "{environment["TESTCLUSTER_SSH_USER"]}"', f'key_file = "{environment["TESTCLUSTER_SSH_KEY"]}"',
            f'known_hosts = "{environment["TESTCLUSTER_SSH_KNOWN_HOSTS"]}"',
        ]
    )  # fmt: skip
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    sites = (("testcluster", ""), ("testcluster-ssh", ssh))
    text = "".join(
        SITE.format(name=name, root=slurm.folder(name), python=sys.executable, more=more, path=path)
        for name, more in sites
    )
    config = tmp_path / "packhorse.toml"
    config.write_text(text)
    monkeypatch.setenv("PACKHORSE_CONFIG", str(config))
