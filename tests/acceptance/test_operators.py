"""The pages of docs/operators.md against a real cluster, its SSH server and a real PostgreSQL: their commands and
examples.
"""

from __future__ import annotations

import configparser
import getpass
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.config import Config, load_config
from tests.acceptance.test_docs import REPOSITORY, as_script, commands, text_of
from tests.fixtures.postgres import Postgres
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.slurm import TestCluster, slurm

__all__ = ["registry", "slurm"]

PAGE = text_of(REPOSITORY / "docs" / "operators.md")
DATABASE = "postgresql+psycopg://packhorse@db.example/packhorse"


class Operator:
    """Somebody with a home of their own, whose SSH knows the cluster's login node as 'login.cluster.example'."""

    def __init__(self, cluster: TestCluster) -> None:
        known = cluster.environment
        self.home = cluster.folder("operator")  # a home that the nodes see
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        shutil.copy(known["TESTCLUSTER_SSH_KEY"], ssh / "id_cluster")
        shutil.copy(known["TESTCLUSTER_SSH_KNOWN_HOSTS"], ssh / "known_hosts")
        self.user = known["TESTCLUSTER_SSH_USER"]
        self.address = f"HostName 127.0.0.1\n  Port {known['TESTCLUSTER_SSH_PORT']}"
        hosts = [
            f"Host {name}\n  {self.address}\n  User {self.user}\n  IdentityFile ~/.ssh/id_cluster\n"
            for name in ("login.cluster.example", "gateway.example")
        ]
        (ssh / "config").write_text("".join(hosts))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PACKHORSE_", "XDG_"))}
        self.environment = {
            **kept,
            **{name: value for name, value in known.items() if name == "SLURM_CONF"},
            "HOME": str(self.home),
            "PACKHORSE_HOME": str(self.home / "packhorse"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.home,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture
def operator(slurm: TestCluster) -> Iterator[Operator]:
    operator = Operator(slurm)
    yield operator
    shutil.rmtree(operator.home, ignore_errors=True)


def test_every_command_of_the_page_runs(operator: Operator, postgres: Postgres, registry: TestRegistry) -> None:
    script = as_script(PAGE)
    for there, here in (
        ("HostName login.cluster.example", operator.address),
        ("--user me", f"--user {operator.user}"),
        ("User me\n", f"User {operator.user}\n"),
        ("/scratch/me", f"{operator.home}/scratch"),
        (DATABASE, postgres.new_database()),
        ("127.0.0.1:17090", registry.address),
    ):
        assert there in script
        script = script.replace(there, here)
    done = operator.run(["bash", "-c", script])
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-2000:]}"
    assert list(load_config(operator.home / ".config/packhorse/packhorse.toml").sites) == ["here", "cluster", "inner"]
    assert done.stdout.count("ran its agent and ended") == 2
    assert "exit code 5" in done.stdout, "a token that was revoked"
    assert re.search(rf"^cluster +{registry.address}/packhorse/box:1 .* READY ", done.stdout, re.MULTILINE)
    assert (operator.home / "backup.db").stat().st_size > 0
    assert (operator.home / "packhorse.dump").stat().st_size > 0


def test_the_lines_for_perlmutter_are_right_but_for_the_machine(operator: Operator) -> None:
    """With the cluster at hand in its place; nobody could try the profile at NERSC."""
    block = PAGE.partition("## Perlmutter")[2].partition("```sh\n")[2].partition("```")[0]
    line = next(line for line in block.splitlines() if line.startswith("packhorse sites add"))
    done = operator.run([*shlex.split(line), "--transport", "local", "--yes"], PSCRATCH=str(operator.home / "pscratch"))
    assert done.returncode == 0, done.stderr
    site = load_config(operator.home / ".config/packhorse/packhorse.toml").sites["perlmutter"]
    assert (site.account, site.qos, site.constraint, site.queue) == ("m1234", "regular", "cpu", None)
    assert site.root == operator.home / "pscratch" / "packhorse"


def test_a_site_over_ssh_is_discovered(operator: Operator, slurm: TestCluster) -> None:
    """This machine knows of no cluster here; variables of the login there are known to ``--root``."""
    command = ["packhorse", "sites", "add", "far", "--host", "login.cluster.example", "--yes", "--json"]
    done = operator.run([*command, "--root", f"$SLURM_CONF/../../jobs/{operator.home.name}/far"], SLURM_CONF="/nowhere")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["site"] == {
        "transport": "ssh",
        "scheduler": "slurm",
        "host": "login.cluster.example",
        "root": f"{operator.home}/far",
        "queue": "debug",
    }
    assert [check["name"] for check in said["checks"]] == [
        f"far: {step}" for step in ("connection", "folder", "python", "agent", "scheduler", "containers")
    ]
    listed = json.loads(operator.run(["packhorse", "sites", "--json"], SLURM_CONF="/nowhere").stdout)
    far = next(site for site in listed if site["name"] == "far")
    assert {queue["name"] for queue in far["queues"]} == {"debug", "short", "preemptible"}


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"--user": "nobody"}, 6, "refuses"),
        ({"--known-hosts": "/dev/null"}, 6, "shows a host key that is not in /dev/null"),
        ({"--root": "/proc/packhorse"}, 2, "far: folder"),
    ],
)
def test_what_is_wrong_over_ssh_is_a_sentence(
    operator: Operator, changed: dict[str, str], code: int, words: str
) -> None:
    given = {"--host": "login.cluster.example", "--root": f"{operator.home}/far", **changed}
    done = operator.run(
        ["packhorse", "sites", "add", "far", "--yes", *(word for pair in given.items() for word in pair)]
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert words in done.stderr
    assert not (operator.home / ".config").exists()


# --- what the page says ------------------------------------------------------------


def test_examples_of_the_file_are_valid() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        Config.model_validate(tomllib.loads(block))


def test_the_unit_starts_what_the_page_tries() -> None:
    (text,) = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    program, _, arguments = unit["Service"]["ExecStart"].partition(" ")
    tried = [
        command
        for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        for command in commands(block)
    ]
    assert Path(program).name == "packhorse"
    assert any(command.startswith(f"packhorse {arguments} ") for command in tried)
    assert unit["Service"]["KillMode"] == "process"


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    (text,) = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    unit = tmp_path / "packhorse.service"
    unit.write_text(
        text.replace("/opt/packhorse/bin/packhorse", "/bin/true").replace("User=packhorse", f"User={getpass.getuser()}")
    )
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert str(unit) not in done.stderr and "packhorse.service" not in done.stderr, done.stderr
