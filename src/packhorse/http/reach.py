"""Where requests of a server's users may lead: out of its own network, unless the configuration opens a part of it.

What counts is the address that is connected to, of each request and each redirect: a name may have another address when
it is used than it had when it was checked. Through a proxy, names are the proxy's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packhorse.agent.background.network import is_inside, names_inside
from packhorse.http.errors import Fault, NotReached


@dataclass(frozen=True, slots=True)
class Reach:
    """``opened`` are networks of the server's own (CIDR) that may be reached."""

    opened: tuple[str, ...] = ()

    def outside(self, host: str, addresses: Iterable[str]) -> list[str]:
        """Those of a host's addresses that may be connected to. Raises NotReached where there is none."""
        found = list(addresses)
        allowed = [address for address in found if not is_inside(address, self.opened)]
        if found and not allowed:
            raise refused(host)
        return allowed

    def check_name(self, host: str) -> None:
        """For a host that a proxy will look up. Raises NotReached."""
        if self.is_inside(host):
            raise refused(host)

    def is_inside(self, host: str) -> bool:
        """Whether a host is written as an address inside; of other names that is not known before they are used."""
        return names_inside(host, self.opened)


def refused(host: str) -> NotReached:
    """Nothing was sent there."""
    what = f"{host} is in this server's own network, where URLs of its users do not lead"
    return NotReached(Fault.INSIDE, what, "Its operator can open it ([server] private_networks in its packhorse.toml).")
