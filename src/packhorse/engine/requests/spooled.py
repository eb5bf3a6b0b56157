"""The tasks of a step that were checked and are not in the store yet: a million of them need little memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator

from packhorse.engine.steps.base import Step
from packhorse.sites.site import Site
from packhorse.store.data import DataKey
from packhorse.store.newtasks import NewTask

_IN_MEMORY_BYTES = 4_000_000


class SpooledTasks:
    """Parameters as JSON text, one after the other; read back as often as one likes."""

    def __init__(self, name: str | None = None, waiting_on: int = 0) -> None:
        self._name = name
        self._waiting_on = waiting_on
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115  closed with us
        self._digest = hashlib.sha256()
        self.number = 0
        self.have_data = False
        self.left_out: set[str] = set()
        """Parameters that are files, of which some task is not given one of its own."""

    def add(self, params: str, needs: tuple[DataKey, ...]) -> None:
        """One more task."""
        line = params.encode()
        self._digest.update(line)
        self._file.write(line + b"\n")  # JSON text has no line ends of its own
        self.number += 1
        self.have_data = self.have_data or bool(needs)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the parameters of all tasks."""
        return self._digest.digest()

    def params(self) -> Iterator[str]:
        """The parameters of each task, in order."""
        self._file.seek(0)
        for line in self._file:
            yield line.rstrip(b"\n").decode()

    def tasks(self, step: Step, site: Site) -> Iterator[NewTask]:
        """The tasks of ``step`` as they are inserted, with what they need at ``site``."""
        for params in self.params():
            needs = step.needs(json.loads(params), site) if self.have_data else ()
            yield NewTask(params, step.demand(params, None), self._name, self._waiting_on, needs)
