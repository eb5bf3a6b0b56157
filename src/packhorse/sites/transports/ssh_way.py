"""The way to a site: each SSH connection from here to it, one through the other, every host key checked and no password
ever used.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from packhorse.domain.ourselves import expanded, home, user_name
from packhorse.sites.transports.ssh_options import SshOptions

_MAX_HOPS = 8
_KEEPALIVES = 3
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""To be preferred: twice as fast here as asyncssh's own first choice."""
_USUAL_HOST_KEYS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


@dataclass(slots=True)
class Hop:
    """A host on the way, and what is known of it when it refuses us."""

    host: str
    port: int = 22
    user: str = ""
    key_files: str = ""
    host_keys: str = ""
    """The files in which its host key was looked for."""
    shown_key: str = ""
    """The host key that it showed and that is not trusted, as type and fingerprint."""
    has_other_key: bool = False
    """Whether another host key of it is trusted."""
    via: str = ""
    """The jump host before it."""

    def __str__(self) -> str:
        return self.host if self.port == 22 else f"{self.host}:{self.port}"


class TooManyHops(Exception):
    """The jump hosts of the configuration lead in a circle."""


@dataclass(slots=True)
class Way:
    """``await open()`` once; ``close`` whatever came of it.

    ``hop`` is then the host that was being connected to last.
    """

    options: SshOptions
    hop: Hop
    connections: list[asyncssh.SSHClientConnection] = field(default_factory=list)

    async def open(self) -> asyncssh.SSHClientConnection:
        """The connection to the site. Raises what asyncssh and the network raise."""
        options = self.options
        return await self._reach(options.host, options.port, options.user, options.key_file, None, 0)

    def abort(self) -> None:
        """Ends all connections at once, the farthest first."""
        for connection in reversed(self.connections):
            connection.abort()

    async def _reach(
        self,
        host: str,
        port: int | None,
        user: str | None,
        key_file: Path | None,
        via: asyncssh.SSHClientConnection | None,
        depth: int,
    ) -> asyncssh.SSHClientConnection:
        self.hop = Hop(host, port or 22, user or "", str(key_file or ""), via=str(self.hop) if via else "")
        if depth > _MAX_HOPS:
            raise TooManyHops(f"more than {_MAX_HOPS} jump hosts")
        _name_us()
        given = self._given(host, port, user, key_file)
        # reads key files and may run the 'Match exec' of a configuration, so not on the loop
        plan = await asyncio.to_thread(asyncssh.SSHClientConnectionOptions, **given, **({"tunnel": via} if via else {}))
        for hop in plan.tunnel.split(",") if isinstance(plan.tunnel, str) else ():
            hop_user, _, address = hop.rpartition("@")
            hop_host, hop_port = _address(address)
            via = await self._reach(hop_host, hop_port, hop_user or None, None, via, depth + 1)
        before = str(self.hop) if via else ""
        if plan.config.get("Ciphers") is None:
            given["encryption_algs"] = _CIPHERS
        files = self._host_key_files(plan)
        self.hop = Hop(
            plan.host, plan.port, plan.username, str(key_file or ""), " or ".join(map(str, files)), via=before
        )
        known = await asyncio.to_thread(_read_host_keys, files)
        checker = _Checker(known, self.hop)
        connection = await asyncssh.connect(**given, tunnel=via, known_hosts=known, client_factory=lambda: checker)
        self.connections.append(connection)
        return connection

    def _given(self, host: str, port: int | None, user: str | None, key_file: Path | None) -> dict[str, Any]:
        options = self.options
        given: dict[str, Any] = {
            "host": host,
            "keepalive_interval": options.dead_after_s / (_KEEPALIVES + 1),
            "keepalive_count_max": _KEEPALIVES,
            "connect_timeout": None,
            "login_timeout": options.connect_timeout_s,
            "preferred_auth": "publickey",
            "password_auth": False,
            "kbdint_auth": False,
            "host_based_auth": False,
            "gss_host": None,
            # nothing of ours goes to the site, whatever the configuration file says of people's own sessions
            "agent_forwarding": False,
            "x11_forwarding": False,
            "send_env": None,
            "command": None,
            "request_pty": False,
            "ignore_encrypted": True,
            "utf8_decode_errors": "replace",
        }
        if port is not None:
            given["port"] = port
        if user is not None:
            given["username"] = user
        if options.config_file is not None:
            given["config"] = [str(options.config_file)]
        if key_file is not None:
            given["client_keys"] = [str(key_file)]
            if not _is_encrypted(key_file):
                given["agent_path"] = None  # servers count each key of an agent as a try, and stop after a few
        return given

    def _host_key_files(self, plan: asyncssh.SSHClientConnectionOptions) -> list[Path]:
        if self.options.known_hosts is not None:
            return [self.options.known_hosts]
        # 'UserKnownHostsFile none' would mean that nothing is checked, and is not for us
        named = plan.known_hosts if isinstance(plan.known_hosts, list) else []
        return [expanded(Path(str(name))) for name in named or _USUAL_HOST_KEYS]


def _name_us() -> None:
    """asyncssh does nothing without a name and a home of ours, which a user without an entry in passwd has not."""
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        os.environ["LOGNAME"] = user_name()
    if not os.environ.get("HOME", "").startswith("/"):
        os.environ["HOME"] = str(home() or "/")


class _Checker(asyncssh.SSHClient):
    """Is asked about host keys that are not trusted, and remembers them."""

    def __init__(self, known: asyncssh.SSHKnownHosts, hop: Hop) -> None:
        self._known = known
        self._hop = hop

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self._hop.shown_key = f"{key.get_algorithm()} {key.get_fingerprint()}"
        self._hop.has_other_key = bool(self._known.match(host, addr, port)[0])
        return False


def _address(text: str) -> tuple[str, int | None]:
    """``host``, ``host:port`` or ``[IPv6]:port`` of a ProxyJump."""
    text = text.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest else None
    host, _, port = text.partition(":")
    return host, int(port) if port else None


def _read_host_keys(files: list[Path]) -> asyncssh.SSHKnownHosts:
    lines: list[str] = []
    for file in files:
        try:
            lines.append(file.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            continue  # as OpenSSH: no keys in it
    return asyncssh.import_known_hosts("\n".join(lines))


def _is_encrypted(key_file: Path) -> bool:
    try:
        asyncssh.read_private_key(key_file)
    except asyncssh.KeyImportError:
        return True  # or damaged, which connecting tells
    return False
