"""Each transport with a site to reach, made from a configuration as a user's is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from packhorse.domain.siteconfig import SiteConfig
from packhorse.sites.base import Transport
from packhorse.sites.environment import Composer
from packhorse.sites.transports.registry import transport as made_from
from tests.fixtures.sshd import SshServer, noisy_sshd, shared_sshd

__all__ = ["noisy_sshd", "shared_sshd"]


@dataclass(frozen=True)
class Case:
    """A transport to be tested.

    ``server`` is the fixture of the server that it goes to; ``ends_commands``: a command that takes too long is ended,
    too, and not only left.
    """

    transport: str
    composer: Composer
    server: str | None = None
    ends_commands: bool = True


#: OpenSSH passes signals on to everybody's commands but root's.
_SIGNALS = os.getuid() != 0
CASES = {
    "local": Case("local", Composer(own=True, here=True)),
    "ssh": Case("ssh", Composer(), "shared_sshd", _SIGNALS),
    "ssh-noisy": Case("ssh", Composer(), "noisy_sshd", _SIGNALS),
}


def _section(case: Case, request: pytest.FixtureRequest) -> SiteConfig:
    if case.server is None:
        return SiteConfig(transport=case.transport)
    server: SshServer = request.getfixturevalue(case.server)
    way = server.options()
    return SiteConfig(
        transport=case.transport, host=way.host, port=way.port, key_file=way.key_file, known_hosts=way.known_hosts,
        ssh_config=way.config_file,
    )  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """The case under test."""
    return CASES[request.param]


@pytest.fixture(scope="module")
def transport(case: Case, request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Its transport."""
    made = made_from(_section(case, request), case.composer)
    yield made
    made.close()
