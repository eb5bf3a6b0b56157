"""What is a user's own at a server: secrets for their tasks, and who else sees their runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

from packhorse.domain.accessviews import SecretView, ShareView

#: (type of the answer, method, path, options) → the answer.
Ask = Callable[..., Any]


class Secrets(Protocol):
    """See ``engine.requests.ownsecrets.OwnSecrets``."""

    def set(self, name: str, value: str) -> None: ...
    def views(self) -> list[SecretView]: ...
    def remove(self, name: str) -> None: ...


class Shares(Protocol):
    """See ``engine.requests.sharing.Sharing``."""

    def of(self, run_id: str) -> list[ShareView]: ...
    def share(self, run_id: str, grantee: str) -> list[ShareView]: ...
    def unshare(self, run_id: str, grantee: str) -> list[ShareView]: ...


class HttpSecrets:
    """Secrets at a server."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def set(self, name: str, value: str) -> None:
        self._ask(type(None), "PUT", f"/secrets/{_part(name)}", json={"value": value})

    def views(self) -> list[SecretView]:
        found: list[SecretView] = self._ask(list[SecretView], "GET", "/secrets")
        return found

    def remove(self, name: str) -> None:
        self._ask(type(None), "DELETE", f"/secrets/{_part(name)}")


class HttpShares:
    """Who sees runs at a server."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def of(self, run_id: str) -> list[ShareView]:
        return self._shares("GET", run_id)

    def share(self, run_id: str, grantee: str) -> list[ShareView]:
        return self._shares("PUT", run_id, f"/{_part(grantee)}")

    def unshare(self, run_id: str, grantee: str) -> list[ShareView]:
        return self._shares("DELETE", run_id, f"/{_part(grantee)}")

    def _shares(self, method: str, run_id: str, more: str = "") -> list[ShareView]:
        found: list[ShareView] = self._ask(list[ShareView], method, f"/runs/{_part(run_id)}/sharing{more}")
        return found


def _part(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
