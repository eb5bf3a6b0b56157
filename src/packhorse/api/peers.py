"""Who may speak to a server that listens where others reach it, without TLS of its own: proxies that it trusts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from packhorse.api.errors import refusal_response
from packhorse.domain.errors import InvalidRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Sequence[str]) -> list[Network]:
    """Addresses and networks of the configuration. Raises InvalidRequest."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            raise InvalidRequest(
                f"'{text[:60]}' of [server] trusted_proxies is no address, and no network.",
                hint="It is like 10.0.0.5, or 10.0.0.0/24.",
            ) from None
    return found


class OnlyThrough:
    """Refuses whoever comes neither from this machine nor from a trusted proxy: their token came in plain text."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app, self._trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_trusted(scope.get("client")):
            words = "This server is asked through its proxy, which has TLS.", "Use the URL that its operator gave you."
            await refusal_response(scope, 403, "not_allowed", *words)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        if client is None:
            return False
        try:
            address = ipaddress.ip_address(client[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return mapped.is_loopback or any(mapped in network for network in self._trusted)
