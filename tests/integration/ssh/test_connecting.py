"""Whom we talk to, and what is said when we do not: host keys, keys, names, jump hosts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from packhorse.sites.base import SiteUnreachable
from packhorse.sites.environment import Purpose
from packhorse.sites.transports.ssh import SshTransport
from packhorse.sites.transports.ssh_options import SshOptions
from tests.fixtures.sshd import SshServer, new_key


@contextmanager
def connected(options: SshOptions) -> Iterator[SshTransport]:
    transport = SshTransport(options)
    try:
        yield transport
    finally:
        transport.close()


def refusal(options: SshOptions) -> str:
    """What a person reads."""
    with connected(options) as transport, pytest.raises(SiteUnreachable) as error:
        transport.exists("/")
    assert "It is tried again in" in str(error.value)
    assert error.value.hint
    return str(error.value)


def test_an_unknown_host_key_is_shown_and_not_taken(shared_sshd: SshServer, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").touch()
    for known_hosts in (tmp_path / "known_hosts", tmp_path / "missing"):
        words = refusal(shared_sshd.options(known_hosts=known_hosts))
        assert (
            f"127.0.0.1:{shared_sshd.port} shows a host key that is not in {known_hosts}: ssh-ed25519 SHA256:" in words
        )
        assert f"'ssh -p {shared_sshd.port} 127.0.0.1' by hand adds it" in words
    assert (tmp_path / "known_hosts").read_text() == ""


def test_a_changed_host_key_is_another_matter(sshd: SshServer) -> None:
    sshd.stop()
    sshd.renew_host_key()
    sshd.start()
    words = refusal(sshd.options())
    assert "shows another host key than the one in" in words
    assert "Somebody may be in between" in words
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in words
    assert sshd.connections() == 0


def test_no_configuration_turns_the_check_off(
    shared_sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "config"
    config.write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    assert "a host key that is not in" in refusal(shared_sshd.options(known_hosts=None, config_file=config))


def test_host_keys_are_found_where_openssh_looks(
    shared_sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    shutil.copy(shared_sshd.known_hosts, tmp_path / ".ssh/known_hosts")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", tmp_path / ".ssh/known_hosts"], check=True, capture_output=True)
    assert "127.0.0.1" not in (tmp_path / ".ssh/known_hosts").read_text()  # hashed
    with connected(shared_sshd.options(known_hosts=None)) as transport:
        assert transport.exists("/")


def test_a_refused_key_is_named_and_not_tried_again_soon(shared_sshd: SshServer, tmp_path: Path) -> None:
    new_key(tmp_path / "stranger")
    words = refusal(shared_sshd.options(key_file=tmp_path / "stranger", user="root"))
    assert f"127.0.0.1:{shared_sshd.port} refuses the key in {tmp_path}/stranger for the user 'root'." in words
    assert "It is tried again in 30 s." in words


def test_a_key_file_that_is_not_there_or_no_key(shared_sshd: SshServer, tmp_path: Path) -> None:
    assert f"{tmp_path}/missing cannot be read" in refusal(shared_sshd.options(key_file=tmp_path / "missing"))
    (tmp_path / "text").write_text("not a key")
    assert f"The key file {tmp_path}/text cannot be used" in refusal(shared_sshd.options(key_file=tmp_path / "text"))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An SSH agent of the test's own."""
    path = f"{tmp_path}/agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not os.path.exists(path):
        time.sleep(0.02)
    monkeypatch.setenv("SSH_AUTH_SOCK", path)
    yield
    process.terminate()
    process.wait()


def test_an_encrypted_key_is_the_agents_business(shared_sshd: SshServer, tmp_path: Path, agent: None) -> None:
    key = tmp_path / "key"
    shutil.copy(shared_sshd.key, key)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", key], check=True, capture_output=True
    )
    words = refusal(shared_sshd.options(key_file=key))
    assert "refuses the key in" in words and "ssh-add" in words and "secret" not in words
    subprocess.run(["ssh-add", "-q", shared_sshd.key], check=True)
    for key_file in (key, None):
        with connected(shared_sshd.options(key_file=key_file)) as transport:
            assert transport.exists("/")


def test_a_plain_key_file_is_not_lost_among_the_agents(shared_sshd: SshServer, tmp_path: Path, agent: None) -> None:
    """A server counts every key offered, and stops at six."""
    for number in range(8):
        new_key(tmp_path / str(number))
        subprocess.run(["ssh-add", "-q", tmp_path / str(number)], check=True)
    with connected(shared_sshd.options()) as transport:
        assert transport.exists("/")
    assert "refuses every key that we have" in refusal(shared_sshd.options(key_file=None))


def test_a_name_that_does_not_resolve(shared_sshd: SshServer) -> None:
    options = shared_sshd.options()
    words = refusal(
        SshOptions("no-such-host.invalid", config_file=options.config_file, known_hosts=options.known_hosts)
    )
    assert "The name 'no-such-host.invalid' does not resolve." in words


def test_a_port_where_nobody_listens(sshd: SshServer) -> None:
    sshd.stop()
    assert f"127.0.0.1:{sshd.port} refuses connections." in refusal(sshd.options())


def test_somebody_who_accepts_and_is_silent(shared_sshd: SshServer) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        began = time.monotonic()
        words = refusal(shared_sshd.options(port=port, connect_timeout_s=1))
        assert f"127.0.0.1:{port} does not answer within 1 s." in words
        assert time.monotonic() - began < 3


def test_a_broken_configuration_file(shared_sshd: SshServer, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host *\n  Port many\n")
    words = refusal(shared_sshd.options(port=None, config_file=tmp_path / "config"))
    assert "The SSH configuration file does not lead to" in words and "many" in words


# --- jump hosts ------------------------------------------------------------


@pytest.fixture
def jump(tmp_path: Path) -> Iterator[SshServer]:
    server = SshServer(tmp_path / "jump")
    server.start()
    yield server
    server.stop()


def way_through(jump: SshServer, site: SshServer, folder: Path, **changes: str) -> SshOptions:
    """A site that only the SSH configuration file knows, as people have it."""
    settings = {"jump_key": str(jump.key), "jump_known": str(jump.known_hosts), "site_port": str(site.port), **changes}
    config = folder / "config"
    config.write_text(
        f"Host gate\n  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {settings['jump_key']}\n  IdentitiesOnly"
        f" yes\n  UserKnownHostsFile {settings['jump_known']}\nHost cluster\n  HostName 127.0.0.1\n  Port"
        f" {settings['site_port']}\n  ProxyJump gate\n  IdentityFile {site.key}\n  IdentitiesOnly yes\n "
        f" UserKnownHostsFile {site.known_hosts}\nHost circle\n  HostName 127.0.0.1\n  ProxyJump circle\n"
    )
    return SshOptions("cluster", config_file=config, connect_timeout_s=10)


def test_a_site_behind_a_jump_host(jump: SshServer, shared_sshd: SshServer, tmp_path: Path) -> None:
    before = shared_sshd.connections()
    with connected(way_through(jump, shared_sshd, tmp_path)) as transport:
        transport.write(f"{tmp_path}/file", b"x" * (5 << 20))
        assert transport.run(["sh", "-c", "echo $SSH_CONNECTION"], purpose=Purpose.LOOK).stdout.split()[-1] == str(
            shared_sshd.port
        )
        assert (jump.connections(), shared_sshd.connections()) == (1, before + 1)
    assert (tmp_path / "file").stat().st_size == 5 << 20


def test_who_on_the_way_refused(jump: SshServer, shared_sshd: SshServer, tmp_path: Path) -> None:
    gate, site = f"127.0.0.1:{jump.port}", f"127.0.0.1:{shared_sshd.port}"
    new_key(tmp_path / "stranger")
    (tmp_path / "empty").touch()
    assert f"{gate} refuses every key" in refusal(
        way_through(jump, shared_sshd, tmp_path, jump_key=str(tmp_path / "stranger"))
    )
    assert f"{gate} shows a host key" in refusal(
        way_through(jump, shared_sshd, tmp_path, jump_known=str(tmp_path / "empty"))
    )
    assert f"{gate} shows a host key" in refusal(way_through(jump, shared_sshd, tmp_path, jump_known="none"))
    words = refusal(way_through(jump, shared_sshd, tmp_path, site_port="1"))
    assert f"The jump host {gate} does not get to 127.0.0.1:1: " in words
    shared_sshd_unknown = way_through(jump, shared_sshd, tmp_path)
    text = (tmp_path / "config").read_text().replace(str(shared_sshd.known_hosts), str(tmp_path / "empty"))
    (tmp_path / "config").write_text(text)
    assert f"{site} shows a host key" in refusal(shared_sshd_unknown)


def test_jump_hosts_in_a_circle(jump: SshServer, shared_sshd: SshServer, tmp_path: Path) -> None:
    options = way_through(jump, shared_sshd, tmp_path)
    assert "more than 8 jump hosts" in refusal(SshOptions("circle", config_file=options.config_file))
