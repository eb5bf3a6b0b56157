"""Where outputs of tasks lie on this machine; what is at a site elsewhere is brought here."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.outputpath import kept_as
from packhorse.domain.paths import folder_problem
from packhorse.domain.states import TaskState
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.sites.site import Site, site_named
from packhorse.store.database import Database
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.steps import edges_into_step, edges_out_of, steps_of_run
from packhorse.store.tasks import tasks_with_files


class OutputFiles:
    """The outputs of tasks at ``sites``; those of other machines are kept below ``downloads``."""

    def __init__(self, database: Database, steps: Steps, sites: Mapping[str, Site], downloads: Path) -> None:
        self._database = database
        self._steps = steps
        self._sites = sites
        self._downloads = downloads

    def gathered(self, run: Any) -> dict[str, Path]:
        """The outputs of a run's gathering tasks and of its last ones, of those that are complete, by name. ``run`` is
        its row.
        """
        found: dict[str, Path] = {}
        with self._database.read() as connection:
            gathering = self._summing_up(connection, run.seq)
            ids = [run.seq * TASKS_PER_RUN + step.row.first for step in gathering]
            tasks = {task.id: task for task in tasks_with_files(connection, ids)}
        for step, task in zip(gathering, ids, strict=True):
            if tasks[task].state != TaskState.COMPLETE:
                continue
            site, folder = self._folder_of(step, task)
            paths = [str(file["path"]) for file in json.loads(tasks[task].files or "[]")]
            for name, path in step.gathered(step.row.index(task), tasks[task].params, paths).items():
                with suppress(FileNotFoundError):  # an optional one
                    found[name] = site.fetch_output(f"{folder}/{path}", self._downloads, folders=True)
        return found

    def _summing_up(self, connection: sa.Connection, run_seq: int) -> list[AppStep]:
        """The steps of a run that gather, and those of one task that come after others and before none."""
        rows = steps_of_run(connection, run_seq)
        before = {edge.upstream for edge in edges_out_of(connection, [row.seq for row in rows])}
        found = []
        for row in rows:
            step = self._steps.of(connection, row.seq)
            is_last = row.tasks == 1 and row.seq not in before and bool(edges_into_step(connection, row.seq))
            if isinstance(step, AppStep) and (step.is_gathering or is_last):
                found.append(step)
        return found

    def path_of(self, task: Any, path: str) -> Path:
        """One output of a task, by its path in the work folder. ``task`` is its row. Raises NotFound."""
        with self._database.read() as connection:
            step = self._steps.of(connection, task.step_seq)
        path = kept_as(path)
        if why := folder_problem(path):
            raise InvalidRequest(f"The path '{path[:200]}' {why}.")
        site, kept = self._folder_of(step, task.id)
        try:
            found = site.fetch_output(f"{kept}/{path}", self._downloads)
            folder = (Path(kept) if site.transport.is_local else self._downloads).resolve()
            target = found.resolve()
            if target.is_relative_to(folder) and target.exists():
                return target
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
            pass
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
                raise
        name = step.row.public_id(task.id)
        raise NotFound(f"Task {name} has no output '{path[:200]}'.", hint=f"'packhorse show {name}' lists its outputs.")

    def _folder_of(self, step: Step, task: int) -> tuple[Site, str]:
        """The site that has a task's outputs, and where."""
        site = site_named(self._sites, step.row.site)
        return site, site.output_folder(step.row.run_id, step.row.index(task))
