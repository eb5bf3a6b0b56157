"""What all tasks of a step need at their site before one of them is placed: what is missing is asked for, and the step
held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from packhorse.engine.appfolders import AppFolders, app_key
from packhorse.engine.steps.base import Step
from packhorse.store.data import DataKey
from packhorse.store.stepdata import need_data


class Needs:
    """Of the steps at one site. Where all is there, nothing is asked of the store."""

    def __init__(self, site: str, folders: AppFolders) -> None:
        self._site = site
        self._folders = folders

    def hold(self, connection: sa.Connection, steps: Mapping[int, Step]) -> set[int]:
        """Holds those of ``steps`` that have to wait, and returns them; then the data loop is to be woken."""
        needs = {seq: keys for seq, step in steps.items() if (keys := self._missing(step))}
        return need_data(connection, self._site, needs) if needs else set()

    def lacking(self, steps: Mapping[int, Step]) -> set[int]:
        """Those of ``steps`` for which something has to be asked for, or looked for in the store."""
        return {seq for seq, step in steps.items() if self._missing(step)}

    def wake(self) -> None:
        """Something was asked for, and that is committed."""
        self._folders.wake()

    def _missing(self, step: Step) -> Sequence[DataKey]:
        if step.app is None:
            return ()
        app = app_key(step.app.name, step.spec.app)
        return () if self._folders.is_there(app) else (app,)
