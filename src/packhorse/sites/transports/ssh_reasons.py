"""What went wrong with SSH, as sentences for a person and as errors that the Transport protocol names. Pure."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass

import asyncssh

from packhorse.sites.transports.framing import Framed
from packhorse.sites.transports.ssh_files import SaysElse
from packhorse.sites.transports.ssh_way import Hop, TooManyHops

_REFUSAL_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a site is not reached, and what to do next."""

    what: str
    hint: str
    patience: float = 1.0
    """How much longer than usual to wait before the next try: sites lock out those who are refused again and again."""


def why_unreachable(error: BaseException, hop: Hop, timeout_s: float) -> Reason:
    """What stopped us at ``hop``."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return _host_key(error, hop)
        case asyncssh.PermissionDenied():
            return _refused(hop)
        case asyncssh.DisconnectError() if "authentication failures" in str(error):
            return _refused(hop)
        case asyncssh.ChannelOpenError() if hop.via:
            return Reason(
                f"The jump host {hop.via} does not get to {hop}: {error}.",
                "See whether that name and port are right there.",
            )
        case asyncssh.KeyImportError() | asyncssh.KeyEncryptionError():
            return Reason(
                f"The key file {hop.key_files or 'for ' + str(hop)} cannot be used: {error}.",
                "Name a private key in key_file.",
            )
        case asyncssh.ConfigParseError() | TooManyHops():
            return Reason(
                f"The SSH configuration file does not lead to {hop}: {error}.",
                "Correct it; 'ssh -v' tells how OpenSSH reads it.",
            )
        case asyncssh.KeyExchangeFailed():
            hint = (
                f"If host keys of {hop} are known, the site may show one of another kind now: compare with what it"
                " publishes."
            )
            return Reason(f"{hop} and we have no method in common: {error}.", hint)
        case socket.gaierror():
            return Reason(f"The name '{hop.host}' does not resolve.", "Check 'host' of the site, and the network.")
        case TimeoutError():
            return Reason(
                f"{hop} does not answer within {timeout_s:g} s.",
                "Is a VPN off, or a firewall between? 'ssh' by hand tells.",
            )
        case ConnectionRefusedError():
            return Reason(f"{hop} refuses connections.", "Check 'port' of the site, and whether its SSH server is up.")
        case FileNotFoundError() | PermissionError() if error.filename:
            return Reason(
                f"{error.filename} cannot be read: {error.strerror}.", "Check the files that the site's section names."
            )
        case asyncssh.SFTPError() | SaysElse():
            hint = (
                f"See what 'sftp {hop.host}' by hand says: an account, a quota or a start file of the shell there may"
                " stop it."
            )
            return Reason(f"{hop} lets us in but serves no files by SFTP: {_words(error)}.", hint)
        case _:
            return Reason(f"{hop} is not reached: {_words(error)}.", "'ssh' by hand may tell more.")


def why_no_result(program: str, command: Framed, hop: Hop) -> Reason:
    """What is known of a command whose end did not arrive although the site says that all is over."""
    said = command.words()
    if command.is_mixed:
        what = f"The login shell at {hop} sends what '{program}' complains of to the same place as what it prints."
        return Reason(what, "Take lines like 'exec 2>&1' out of the shell's start files there, or ask the site.")
    if command.stdout.has_begun:
        hint = "The site may end what is long or large on login nodes, or allow no more processes there."
        return Reason(f"'{program}' was ended at {hop} before it had said all.", hint)
    words = f", and says: {said}" if said else ""
    hint = f"See what 'ssh {hop.host} true' by hand says: an account, a quota or a start file of the shell may stop it."
    return Reason(f"{hop} lets us in but does not run '{program}'{words}.", hint)


def _host_key(error: BaseException, hop: Hop) -> Reason:
    name = hop.host if hop.port == 22 else f"[{hop.host}]:{hop.port}"
    if not hop.shown_key:
        return Reason(
            f"The host key of {hop} is not to be trusted: {_words(error)}.",
            "Ask the site which key is the right one.",
        )
    if hop.has_other_key:
        what = (
            f"{hop} shows another host key than the one in {hop.host_keys}: {hop.shown_key}. Somebody may be in"
            " between."
        )
        return Reason(what, f"Ask the site. If its key is new, remove the old one: ssh-keygen -R '{name}' -f the file.")
    what = f"{hop} shows a host key that is not in {hop.host_keys}: {hop.shown_key}."
    port = "" if hop.port == 22 else f"-p {hop.port} "
    return Reason(what, f"Compare it with what the site publishes; then 'ssh {port}{hop.host}' by hand adds it.")


def _refused(hop: Hop) -> Reason:
    key = f"the key in {hop.key_files}" if hop.key_files else "every key that we have"
    hint = (
        "Is the key registered at the site, and an encrypted one in the agent (ssh-add -l)? Passwords are never used."
    )
    return Reason(f"{hop} refuses {key} for the user '{hop.user}'.", hint, _REFUSAL_PATIENCE)


def _words(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


_ERRNO = {
    asyncssh.SFTPNoSuchFile: errno.ENOENT,
    asyncssh.SFTPNoSuchPath: errno.ENOENT,
    asyncssh.SFTPPermissionDenied: errno.EACCES,
    asyncssh.SFTPWriteProtect: errno.EROFS,
    asyncssh.SFTPNoSpaceOnFilesystem: errno.ENOSPC,
    asyncssh.SFTPQuotaExceeded: errno.EDQUOT,
    asyncssh.SFTPFileAlreadyExists: errno.EEXIST,
    asyncssh.SFTPNotADirectory: errno.ENOTDIR,
    asyncssh.SFTPFileIsADirectory: errno.EISDIR,
    asyncssh.SFTPOpUnsupported: errno.ENOTSUP,
    asyncssh.SFTPFailure: errno.EIO,
}
#: These say that the session is over; everything else is the file system's answer.
_SESSION_OVER = (
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.SFTPBadMessage,
    asyncssh.SFTPInvalidHandle,
)


def file_error(error: BaseException, path: str) -> OSError | None:
    """The refusal of an SFTP server as the OSError that the same refusal is here; None when ``error`` is about the
    connection.

    Version 3 of SFTP, which OpenSSH speaks, has one word, 'Failure', for whatever is not a missing file or a
    permission.
    """
    if not isinstance(error, asyncssh.SFTPError) or isinstance(error, _SESSION_OVER):
        return None
    number = _ERRNO.get(type(error), errno.EIO)
    words = os.strerror(number) if number != errno.EIO else f"the SFTP server says: {_words(error)}"
    return OSError(number, words, path)
