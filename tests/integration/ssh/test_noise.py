"""Login nodes that print: whatever start files, banners and logout files say, a value is what the command said."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.siteconfig import SiteConfig
from packhorse.engine.requests.newsite import NewSite
from packhorse.sites import background
from packhorse.sites.base import CommandResult, SiteUnreachable
from packhorse.sites.site import Site, local_site
from packhorse.sites.transports.ssh import SshTransport
from tests.fixtures.room import wait_for
from tests.fixtures.sshd import NOISE, SshServer


@contextmanager
def login(folder: Path, **how: Any) -> Iterator[SshTransport]:
    """A server of its own, and a transport to it."""
    server = SshServer(folder / "sshd", **how)
    server.start()
    transport = SshTransport(server.options())
    try:
        yield transport
    finally:
        transport.close()
        server.stop()


@pytest.fixture
def noisy(noisy_sshd: SshServer) -> Iterator[SshTransport]:
    transport = SshTransport(noisy_sshd.options())
    yield transport
    transport.close()


def test_the_server_of_these_tests_is_noisy_indeed(noisy_sshd: SshServer) -> None:
    """What OpenSSH's own client is told."""
    server = noisy_sshd
    command = [
        "ssh",
        "-F",
        "none",
        "-p",
        str(server.port),
        "-i",
        str(server.key),
        "-o",
        f"UserKnownHostsFile={server.known_hosts}",
    ]
    said = subprocess.run([*command, "127.0.0.1", "echo mine"], capture_output=True, stdin=subprocess.DEVNULL)
    assert (said.returncode, b"no newline: mine\nlogout: 0\n" in said.stdout) == (3, True)
    assert b"setlocale" in said.stderr and b"Goodbye." in said.stderr


@pytest.mark.parametrize("shell", ["sh", "bash", "fish"])  # the C shell has the whole suite of transports
def test_a_command_says_what_it_says_after_any_login_shell(tmp_path: Path, shell: str) -> None:
    with login(tmp_path, noisy=shell, code=0) as transport:
        assert transport.run(["sh", "-c", "printf 'a\\nb!'; echo \"it's\" >&2; exit 7"]) == CommandResult(
            7, "a\nb!", "it's\n"
        )
        assert transport.run(["no-such-program"]).exit_code == 127
        transport.write(f"{tmp_path}/file", b"\0\xff")
        assert (transport.read(f"{tmp_path}/file"), transport.names(str(tmp_path))) == (b"\0\xff", ["file", "sshd"])


def noise_and(line: str) -> str:
    """The noise, with a line of a start file in it."""
    return NOISE.replace("{shell} -c", f"{line}\n{{shell}} -c")


def test_what_a_start_file_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    """It holds stdout, and the channel would stay open as long as it runs."""
    with login(
        tmp_path, noisy="sh", noise=noise_and(f"sh -c 'echo $$ >> {tmp_path}/pids; exec sleep 60' &")
    ) as transport:
        began = time.monotonic()
        try:
            assert transport.run(["echo", "out"], timeout_s=30) == CommandResult(0, "out\n", "")
            assert transport.run(["sh", "-c", "echo err >&2; exit 9"], timeout_s=30) == CommandResult(9, "", "err\n")
        finally:
            for pid in (tmp_path / "pids").read_text().split():
                subprocess.run(["kill", pid])
        assert time.monotonic() - began < 20


def test_a_login_that_says_too_much_afterwards_is_cut_short(tmp_path: Path) -> None:
    with login(tmp_path, noisy="sh", noise=NOISE.replace("echo 'logout: 0'", "yes logout")) as transport:
        assert transport.run(["echo", "out"], timeout_s=30) == CommandResult(0, "out\n", "")


def test_a_start_file_that_hides_complaints(tmp_path: Path) -> None:
    with login(tmp_path, noisy="sh", noise=noise_and("exec 2>/dev/null")) as transport:
        assert transport.run(["sh", "-c", "echo out; echo err >&2; exit 1"]) == CommandResult(1, "out\n", "")


@pytest.mark.parametrize(
    ("line", "words", "hint"),
    [
        ("exec 2>&1", "sends what 'true' complains of to the same place as what it prints", "exec 2>&1"),
        ("[ -z \"${SSH_ORIGINAL_COMMAND##*sftp*}\" ] || { echo 'Your quota is used up.'; exit 1; }",
         "lets us in but does not run 'true', and says: .*Your quota is used up", "ssh 127.0.0.1 true"),
        ("case $SSH_ORIGINAL_COMMAND in *sftp*) echo 'Your account has ended.'; exit 0;; esac",
         "lets us in but serves no files by SFTP: .*Your account has ended", "sftp 127.0.0.1"),
    ],
)  # fmt: skip
def test_a_login_that_is_in_the_way_is_told_in_its_own_words(tmp_path: Path, line: str, words: str, hint: str) -> None:
    with login(tmp_path, noisy="sh", noise=noise_and(line)) as transport:
        with pytest.raises(SiteUnreachable, match=words) as error:
            transport.run(["true"])
        assert hint in (error.value.hint or "")


def test_a_command_whose_end_is_missing_is_no_success(noisy: SshTransport) -> None:
    with pytest.raises(SiteUnreachable, match=r"'sh' was ended at .* before it had said all"):
        noisy.run(["sh", "-c", "echo half; kill -9 $PPID"])
    assert noisy.run(["echo", "and on"]).stdout == "and on\n"


def noisy_site(root: Path, transport: SshTransport) -> Site:
    """This machine, as reached through the noise."""
    site = local_site(str(root), linger_s=0.5, name="noisy")
    site.transport, site.shares_our_files = transport, False
    return site


def test_a_background_job_and_who_we_are(noisy: SshTransport, tmp_path: Path) -> None:
    site = noisy_site(tmp_path / "root", noisy)
    assert site.identity() == (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    steps = [background.Step(["sh", "-c", "echo done > $0", f"{tmp_path}/mark"], "work")]
    background.start(site, "e-1", steps, watch=str(tmp_path), tmp=f"{tmp_path}/tmp", timeout_s=30)
    wait_for(lambda: background.look(site, "e-1").succeeded, 30, "the background job")
    assert (tmp_path / "mark").read_text() == "done\n"


def test_the_environment_of_a_login_is_not_what_its_profile_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noisy_sshd: SshServer
) -> None:
    """As 'packhorse sites add' asks for it, to suggest a root."""
    profile = noisy_sshd.folder / "home" / ".bash_profile"
    profile.write_text("echo SCRATCH=/wrong; echo HOME=/wrong >&2; export SCRATCH=/right WORDS='two\nSCRATCH=/lines'\n")
    options = noisy_sshd.options()
    config = SiteConfig(
        transport="ssh", scheduler="slurm", host=options.host, port=options.port, key_file=options.key_file,
        known_hosts=options.known_hosts, ssh_config=options.config_file,
    )  # fmt: skip
    try:
        found = NewSite("noisy", config, tmp_path).environment()
        assert (found["SCRATCH"], found["WORDS"], found["HOME"]) == (
            "/right",
            "two\nSCRATCH=/lines",
            str(profile.parent),
        )
        profile.write_text("echo no; exit 1\n")
        found = NewSite("noisy", config, tmp_path).environment()
        assert (found.get("SCRATCH"), found["HOME"]) == (None, str(profile.parent))
    finally:
        profile.unlink()
