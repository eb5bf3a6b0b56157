"""What all tasks of a step need at their site before one of them is placed: what is missing is asked for, and the step
held.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from packhorse.engine.appfolders import AppFolders, app_key
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.sites.apps import app_folder, is_app_here
from packhorse.sites.site import Site
from packhorse.store.data import DataKey
from packhorse.store.stepdata import need_data
from packhorse.store.steps import app_archive, steps_of_run

_REMEMBERED = 10_000
_SMALL = 1 << 20  # bytes of a packed app


class Needs:
    """Of the steps at one site. Where all is there, nothing is asked of the store."""

    def __init__(self, site: Site, folders: AppFolders, steps: Steps) -> None:
        self._site = site
        self._folders = folders
        self._steps = steps
        self._given: OrderedDict[int, None] = OrderedDict()  # steps that have what the store says they need
        self._runs: OrderedDict[int, None] = OrderedDict()  # of which was asked for what comes later

    def lacking(self, connection: sa.Connection, steps: Mapping[int, Step]) -> set[int]:
        """Those of ``steps`` for which something has to be asked for, or looked for in the store."""
        for step in steps.values():
            self._look(connection, step)
        return {seq for seq, step in steps.items() if self._missing(step)}

    def hold(self, connection: sa.Connection, steps: Mapping[int, Step]) -> set[int]:
        """Holds those of ``steps`` that have to wait, and returns them; then the data loop is to be woken."""
        needs = {seq: keys for seq, step in steps.items() if (keys := self._missing(step))}
        waiting = need_data(connection, self._site.name, needs) if needs else set()
        for seq in needs.keys() - waiting:
            _remember(self._given, seq)
        self._ask_ahead(connection, {steps[seq].row.run_seq for seq in waiting} - self._runs.keys(), steps)
        return waiting

    def _ask_ahead(self, connection: sa.Connection, runs: Collection[int], besides: Collection[int]) -> None:
        """The other steps of runs want their apps as well, and common files: these come while others are waited for."""
        for run_seq in sorted(runs):
            _remember(self._runs, run_seq)
            rows = [row for row in steps_of_run(connection, run_seq) if row.site == self._site.name]
            others = self._steps.many(connection, [row.seq for row in rows if row.seq not in besides])
            needs = {seq: keys for seq, step in others.items() if (keys := self._missing(step, ahead=True))}
            if needs:
                need_data(connection, self._site.name, needs)

    def wake(self) -> None:
        """Something was asked for, and that is committed."""
        self._folders.wake()

    def _look(self, connection: sa.Connection, step: Step) -> None:
        """A small app that an engine before this one has brought to a site whose files are ours is found by one look:
        to have it looked for by the data loop takes longer than a short task.
        """
        if step.app is None or not self._site.transport.is_local:
            return
        name, digest = step.app.name, step.spec.app
        if self._folders.is_there(key := app_key(name, digest)):
            return
        if self._site.transport.exists(app_folder(self._site, name, digest)):
            archive = app_archive(connection, digest, _SMALL)
            if archive and is_app_here(self._site, name, digest, archive):
                self._folders.came(key)

    def _missing(self, step: Step, *, ahead: bool = False) -> tuple[DataKey, ...]:
        """``ahead``: what other tasks leave is not there yet."""
        own = () if step.row.seq in self._given else step.common_needs()
        if ahead:
            own = tuple(DataKey(url, version) for url, version in step.spec.files.items())
        if step.app is None:
            return own
        app = app_key(step.app.name, step.spec.app)
        return own if self._folders.is_there(app) else (app, *own)


def _remember(known: OrderedDict[int, None], seq: int) -> None:
    known[seq] = None
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
