"""The transports by name."""

from __future__ import annotations

from collections.abc import Callable

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.siteconfig import SiteConfig
from packhorse.sites.base import Transport
from packhorse.sites.environment import Composer
from packhorse.sites.transports.local import LocalTransport


def _local(config: SiteConfig, composer: Composer) -> Transport:
    return LocalTransport(composer)


def _ssh(config: SiteConfig, composer: Composer) -> Transport:
    from packhorse.sites.transports.ssh import SshTransport  # slow to import, and most have no such site
    from packhorse.sites.transports.ssh_options import ssh_options

    return SshTransport(ssh_options(config), composer)


#: Each takes of a site's section what it needs to get there, and connects to nothing yet.
TRANSPORTS: dict[str, Callable[[SiteConfig, Composer], Transport]] = {"local": _local, "ssh": _ssh}


def transport(config: SiteConfig, composer: Composer) -> Transport:
    """The transport that a site's configuration names.

    Raises InvalidRequest with the names there are, or with what is missing in the configuration.
    """
    if config.transport not in TRANSPORTS:
        raise InvalidRequest(
            f"There is no transport '{config.transport}'.", hint=f"There are: {', '.join(TRANSPORTS)}."
        )
    return TRANSPORTS[config.transport](config, composer)
