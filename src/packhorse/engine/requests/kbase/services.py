"""Small clients of KBase's services: each question has a time limit, and what they say is remembered for a while."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from packhorse.domain.errors import InvalidRequest, Unavailable
from packhorse.domain.kbase import requirements_of
from packhorse.domain.kbaseconfig import KBaseConfig
from packhorse.engine.requests.kbase.remembered import Remembered
from packhorse.http.client import Http
from packhorse.http.errors import NotReached

_LIMIT = 16 << 20
_OBJECTS = 1000  # in one question
_WRITE, _READ = frozenset("aw"), frozenset("awr")
_HINT = "Nothing was changed; try again later."


def batched(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Pieces of what is asked for at once."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class ServiceError(InvalidRequest):
    """A service of KBase refuses what it was asked."""


class RpcClient:
    """JSON-RPC 1.1 with one service of KBase, called ``name`` in messages."""

    def __init__(self, http: Http, name: str, url: str) -> None:
        self._http, self.name, self._url = http, name, url

    def call(self, method: str, params: Sequence[Any], token: str) -> Any:
        """The first value of the result. Raises Unavailable where it does not answer, ServiceError where it refuses."""
        body = {"version": "1.1", "id": "1", "method": method, "params": list(params)}
        headers = {"Authorization": token} if token else {}
        try:
            answer = self._http.ask("POST", self._url, json=body, headers=headers, limit=_LIMIT)
        except NotReached as error:
            raise Unavailable(f"The {self.name} service of KBase does not answer: {error}.", hint=_HINT) from None
        try:
            document = json.loads(answer.content)
        except ValueError:
            document = None
        if not isinstance(document, dict) or answer.status_code not in (200, 500):
            told = f"it answers {answer.status_code}" if answer.status_code != 200 else "its answer is no JSON-RPC"
            raise Unavailable(f"The {self.name} service of KBase makes no sense now: {told}.", hint=_HINT)
        if (wrong := document.get("error")) is not None:
            message = wrong.get("message") if isinstance(wrong, dict) else wrong
            raise ServiceError(f"The {self.name} service of KBase refuses it: {str(message)[:500]}")
        result = document.get("result")
        if not isinstance(result, list):
            raise Unavailable(f"The {self.name} service of KBase makes no sense now: it says no result.", hint=_HINT)
        return result[0] if result else None


class Workspaces:
    """Who may do what in workspaces. Without a service, a workspace is only a label: nobody has rights by it, and
    everybody may give it to jobs of their own.
    """

    def __init__(self, config: KBaseConfig, http: Http) -> None:
        url = config.workspace
        self._client = RpcClient(http, "Workspace", url) if url else None
        self._known: Remembered[tuple[str, int], str] = Remembered(config.permissions_kept_s)

    def writable(self, user: str, token: str, wsids: Collection[int]) -> set[int]:
        """The workspaces in which a user may run jobs."""
        if self._client is None:
            return set(wsids)
        return self._having(_WRITE, user, token, wsids)

    def readable(self, user: str, token: str, wsids: Collection[int]) -> set[int]:
        """The workspaces whose jobs a user may see."""
        return set() if self._client is None else self._having(_READ, user, token, wsids)

    @property
    def is_there(self) -> bool:
        """Whether there is such a service."""
        return self._client is not None

    def require_objects(self, token: str, references: Collection[str]) -> None:
        """Raises InvalidRequest, in EE2's words, where an object of a workspace cannot be read by who asks."""
        if self._client is None:
            return
        for some in batched(sorted(set(references)), _OBJECTS):
            asked = {"objects": [{"ref": one} for one in some], "ignoreErrors": 1}
            said = self._client.call("Workspace.get_object_info3", [asked], token)
            paths = said.get("paths") if isinstance(said, dict) else None
            if not isinstance(paths, list) or len(paths) != len(some):
                raise Unavailable("The Workspace service of KBase makes no sense now: it says no objects.", hint=_HINT)
            if None in paths:
                raise InvalidRequest("Some workspace object is inaccessible")

    def _having(self, rights: Collection[str], user: str, token: str, wsids: Collection[int]) -> set[int]:
        known = {wsid: right for wsid in wsids if (right := self._known.get((user, wsid))) is not None}
        missing = sorted(set(wsids) - known.keys())
        if missing:
            known |= self._asked(user, token, missing)
        return {wsid for wsid, right in known.items() if right in rights}

    def _asked(self, user: str, token: str, wsids: Sequence[int]) -> dict[int, str]:
        assert self._client is not None
        asked = {"workspaces": [{"id": wsid} for wsid in wsids]}
        try:
            said = self._client.call("Workspace.get_permissions_mass", [asked], token)
        except ServiceError:  # one that is not there, or deleted, makes it refuse all
            if len(wsids) == 1:
                self._known.put((user, wsids[0]), "n")
                return {wsids[0]: "n"}
            halves = wsids[: len(wsids) // 2], wsids[len(wsids) // 2 :]
            return self._asked(user, token, halves[0]) | self._asked(user, token, halves[1])
        rows = said.get("perms") if isinstance(said, dict) else None
        if not isinstance(rows, list) or len(rows) != len(wsids):
            raise Unavailable("The Workspace service of KBase makes no sense now: it says no permissions.", hint=_HINT)
        found = {}
        for wsid, row in zip(wsids, rows, strict=True):
            rights = row if isinstance(row, dict) else {}
            right = str(rights.get(user) or rights.get("*") or "n")
            found[wsid] = right
            self._known.put((user, wsid), right)
        return found


class Catalog:
    """What KBase's catalogue says of the methods that run: client groups, secure parameters."""

    def __init__(self, config: KBaseConfig, http: Http) -> None:
        url = config.catalog
        self._client = RpcClient(http, "Catalog", url) if url else None
        self._token_file = config.catalog_token_file
        self._groups: Remembered[tuple[str, str], dict[str, Any]] = Remembered(config.permissions_kept_s)

    def requirements(self, module: str, function: str) -> dict[str, Any]:
        """What a method asks for by its client group: cpus, memory (MB), disk (GB), clientgroup; what is not said is
        not there.
        """
        if self._client is None:
            return {}
        if (known := self._groups.get((module, function))) is not None:
            return known
        asked = {"module_name": module, "function_name": function}
        said = self._client.call("Catalog.list_client_group_configs", [asked], "")
        found = _requirements(said, f"{module}.{function}")
        self._groups.put((module, function), found)
        return found

    def secure_parameters(self, module: str, version: str) -> dict[str, str]:
        """Values by name. They are asked for with a token of the operator's, and are not remembered."""
        if self._client is None or self._token_file is None:
            return {}
        try:
            token = self._token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise Unavailable(f"The token for KBase's catalogue cannot be read: {error}.") from None
        asked = {"module_name": module, "version": version}
        said = self._client.call("Catalog.get_secure_config_params", [asked], token)
        rows = [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []
        return {
            str(row["param_name"]): str(row["param_value"])
            for row in rows
            if "param_name" in row and "param_value" in row
        }


def _requirements(said: Any, method: str) -> dict[str, Any]:
    """``client_groups`` of a configuration: ['njs', 'request_cpus=4', …], or JSON in one text."""
    rows = [row for row in said if isinstance(row, dict)] if isinstance(said, list) else []
    if not rows:
        return {}
    words = [str(word) for word in rows[0].get("client_groups") or ()]
    text = ",".join(words).strip()
    if text.startswith("{"):
        try:
            given = json.loads(text)
        except ValueError:
            raise Unavailable(f"KBase's catalogue has no readable client group for {method}.", hint=_HINT) from None
    else:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        pairs = dict(part.split("=", 1) for part in parts if "=" in part)
        named = {"client_group": parts[0]} if parts and "=" not in parts[0] else {}
        given = {**pairs, **named}
    return requirements_of(_in_units(given))


def _in_units(given: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers without their units: memory in MB, disk in GB."""
    found = dict(given)
    for name in ("request_memory", "request_disk"):
        value = str(found.get(name) or "").upper().removesuffix("B").strip()
        if value.endswith(("M", "G", "T")):
            number = float(value[:-1]) * {"M": 1, "G": 1000, "T": 1_000_000}[value[-1]]
            found[name] = max(1, round(number if name == "request_memory" else number / 1000))
    return {name: value for name, value in found.items() if value not in (None, "")}
