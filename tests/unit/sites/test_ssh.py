"""What of the SSH transport is a function from values to values."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import asyncssh
import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.siteconfig import SiteConfig
from packhorse.sites.transports.ssh_options import SshOptions, ssh_options
from packhorse.sites.transports.ssh_reasons import file_error, why_unreachable
from packhorse.sites.transports.ssh_way import Hop


def test_the_section_of_a_site_as_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    site = SiteConfig.model_validate(
        {
            "transport": "ssh",
            "host": "login",
            "port": 2222,
            "user": "al",
            "key_file": "~/.ssh/hpc",
            "known_hosts": "/etc/known",
        }
    )
    assert ssh_options(site) == SshOptions("login", 2222, "al", Path("/home/alice/.ssh/hpc"), Path("/etc/known"), None)


def test_a_site_without_a_host_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="reached by SSH and has no host"):
        ssh_options(SiteConfig(transport="ssh"))


def test_options_need_a_channel_for_commands() -> None:
    with pytest.raises(ValueError, match="max_channels"):
        SshOptions("login", max_channels=1)


HOP = Hop("login.example", 2222, "al", "/k/key", "/k/known_hosts")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncssh.PermissionDenied("x"), "login.example:2222 refuses the key in /k/key for the user 'al'."),
        # what OpenSSH says when an agent offers too many keys
        (asyncssh.DisconnectError(2, "Too many authentication failures"), "login.example:2222 refuses the key"),
        (asyncssh.HostKeyNotVerifiable("Host key is revoked for host x"), "not to be trusted: Host key is revoked"),
        (
            asyncssh.KeyExchangeFailed("No matching host key algorithm"),
            "no method in common: No matching host key algorithm.",
        ),
        (
            asyncssh.ConfigParseError("line 1: x"),
            "The SSH configuration file does not lead to login.example:2222: line 1: x.",
        ),
        (asyncssh.KeyImportError("Invalid private key"), "The key file /k/key cannot be used: Invalid private key."),
        (socket.gaierror(-2, "Name or service not known"), "The name 'login.example' does not resolve."),
        (TimeoutError(), "login.example:2222 does not answer within 10 s."),
        (ConnectionRefusedError(111, "x"), "login.example:2222 refuses connections."),
        (
            FileNotFoundError(2, "No such file or directory", "/k/key"),
            "/k/key cannot be read: No such file or directory.",
        ),
        (OSError(113, "No route to host"), "login.example:2222 is not reached: [Errno 113] No route to host."),
        (asyncssh.ConnectionLost("Connection lost"), "login.example:2222 is not reached: Connection lost."),
        (RuntimeError(), "login.example:2222 is not reached: RuntimeError."),
    ],
)
def test_every_cause_has_its_sentence_and_what_to_do(error: Exception, words: str) -> None:
    reason = why_unreachable(error, HOP, 10)
    assert words in reason.what
    assert reason.hint


def test_only_a_refusal_of_keys_asks_for_patience() -> None:
    assert why_unreachable(asyncssh.PermissionDenied("x"), HOP, 10).patience > 1
    assert why_unreachable(TimeoutError(), HOP, 10).patience == 1


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        (asyncssh.SFTPNoSuchFile("x"), FileNotFoundError, errno.ENOENT),
        (asyncssh.SFTPPermissionDenied("x"), PermissionError, errno.EACCES),
        (asyncssh.SFTPFileAlreadyExists("x"), FileExistsError, errno.EEXIST),
        (asyncssh.SFTPQuotaExceeded("x"), OSError, errno.EDQUOT),
        (asyncssh.SFTPFailure("Failure"), OSError, errno.EIO),
        (asyncssh.SFTPOpUnsupported("x"), OSError, errno.ENOTSUP),
    ],
)
def test_refusals_of_a_file_server_are_those_of_the_system(error: Exception, kind: type[OSError], number: int) -> None:
    refusal = file_error(error, "/a/file")
    assert refusal is not None
    assert (type(refusal), refusal.errno, refusal.filename) == (kind, number, "/a/file")


@pytest.mark.parametrize(
    "error",
    [
        asyncssh.SFTPConnectionLost("x"),
        asyncssh.SFTPNoConnection("x"),
        asyncssh.ConnectionLost("x"),
        BrokenPipeError(32, "x"),
    ],
)
def test_the_end_of_a_connection_is_no_refusal(error: Exception) -> None:
    assert file_error(error, "/a/file") is None
