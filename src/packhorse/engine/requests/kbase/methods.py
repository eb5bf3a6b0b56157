"""The registry of KBase methods: module.function and version → app of the catalogue, and what its jobs ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packhorse.domain.errors import NotFound
from packhorse.domain.kbase import JobRequest, module_of
from packhorse.domain.kbaseapp import KBaseMethod
from packhorse.domain.kbaseconfig import KBaseConfig
from packhorse.engine.requests.kbase.services import Catalog
from packhorse.staging.apps import AppCatalog, AppFolder

_LOOK_S = 2.0
_RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Method:
    """A method that can be run."""

    app: AppFolder
    about: KBaseMethod

    @property
    def commit(self) -> str:
        """What a job says of its version: retries keep it."""
        return self.about.git_commit or self.app.manifest.version


class Methods:
    """Those of the apps in a catalogue that say which method they run."""

    def __init__(self, catalog: AppCatalog) -> None:
        self._catalog = catalog
        self._turn = threading.Lock()
        self._looked_at = -_LOOK_S
        self._found: dict[str, list[Method]] = {}

    def find(self, method: str, version: str | None) -> Method:
        """The app for a method. Raises NotFound."""
        module, function = module_of(method)
        of_module = self._of_module(module)
        named = [one for one in of_module if one.about.function == function]
        able = named or [one for one in of_module if one.about.function is None]
        asked = version or _RELEASE
        for one in able:
            if one.about.answers_to(one.app.manifest.version, asked):
                return one
        if able:
            there = ", ".join(sorted({f"{one.commit} ({', '.join(one.about.tags)})" for one in able}))
            raise NotFound(
                f"There is no version '{asked[:60]}' of the method '{method}' here: there is {there}.",
                hint="Ask for one of these, or have the operator import that version.",
            )
        hint = "'packhorse apps import kbase MODULE_DIR' writes an app for each method of a module."
        raise NotFound(f"There is no app for the method '{method}' here.", hint=hint)

    def _of_module(self, module: str) -> list[Method]:
        with self._turn:
            if time.monotonic() - self._looked_at >= _LOOK_S:
                self._found = {}
                for app in self._catalog.all():
                    if isinstance(app, AppFolder) and app.manifest.kbase is not None:
                        self._found.setdefault(app.manifest.kbase.module, []).append(Method(app, app.manifest.kbase))
                self._looked_at = time.monotonic()
            return self._found.get(module, [])


def requirements_for(request: JobRequest, config: KBaseConfig, catalog: Catalog) -> dict[str, Any]:
    """What a job asks for: its request's own, then the Catalog's for its method, then those of its client group."""
    said = {**catalog.requirements(*module_of(request.method)), **request.requirements}
    name = str(said.get("clientgroup") or config.default_client_group)
    group = config.client_groups.get(name)
    usual = {"cpus": group.cpus, "memory": group.memory_mb, "disk": group.disk_gb} if group else {}
    told = {key: value for key, value in usual.items() if value is not None}
    queue = {"queue": group.queue} if group and group.queue else {}
    return {**told, **said, "clientgroup": name, **queue}


def resources_of(requirements: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as it is laid over an app's own resources."""
    found: dict[str, Any] = {}
    if "cpus" in requirements:
        found["cpu_cores"] = requirements["cpus"]
    if "memory" in requirements:
        found["ram_gb"] = requirements["memory"] / 1000
    if "disk" in requirements:
        found["disk_gb"] = requirements["disk"]
    if "queue" in requirements:
        found["queue"] = requirements["queue"]
    if "site" in requirements:
        found["site"] = requirements["site"]
    return found
