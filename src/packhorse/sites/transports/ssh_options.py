"""How a site is reached by SSH, as its configuration says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.ourselves import expanded
from packhorse.domain.siteconfig import SiteConfig


@dataclass(frozen=True, slots=True)
class SshOptions:
    """Where and how to connect. What is None is taken from the SSH configuration file, else as OpenSSH would."""

    host: str
    """A host name, an address, or a name from the SSH configuration file, which may lead through jump hosts."""
    port: int | None = None
    user: str | None = None
    key_file: Path | None = None
    """The private key for ``host``, with a certificate beside it if there is one.

    Encrypted keys belong into an agent.
    """
    known_hosts: Path | None = None
    """The host keys that are trusted, for ``host`` and for jump hosts."""
    config_file: Path | None = None
    """None is ~/.ssh/config, if it is there."""
    max_channels: int = 8
    """How many of the connection's channels are used at once: one for files, the others for commands.

    OpenSSH allows 10.
    """
    connect_timeout_s: float = 10.0
    """How long connecting may take, jump hosts and login included."""
    dead_after_s: float = 28.0
    """A peer that has not answered for so long is dead."""

    def __post_init__(self) -> None:
        if self.max_channels < 2:
            raise ValueError("max_channels: expected at least 2, one for files and one for commands")


def ssh_options(site: SiteConfig) -> SshOptions:
    """The options of a site's section. Raises InvalidRequest when they do not say where the site is."""
    if site.host is None:
        raise InvalidRequest("It is reached by SSH and has no host.", hint="Set 'host' in that section.")
    return SshOptions(
        site.host,
        site.port,
        site.user,
        _home(site.key_file),
        known_hosts=_home(site.known_hosts),
        config_file=_home(site.ssh_config),
    )


def _home(path: Path | None) -> Path | None:
    return path and expanded(path)
