"""How the runs of the schema before become runs of steps. Used by one migration: tables are named as they were then."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.app import STORED, AppManifest, Session
from packhorse.domain.apparchive import AppFile, digest_of, pack_app
from packhorse.domain.resources import Resources, resources_from_tes
from packhorse.domain.task import Task
from packhorse.domain.text import kept_json

_log = structlog.get_logger()

READY = "state = 'QUEUED' AND waiting_on = 0 AND not_before = 0"

_PER_RUN = 1 << 20
_AT_ONCE = 2000
_ENDED = "('COMPLETE', 'EXECUTOR_ERROR', 'SYSTEM_ERROR', 'CANCELED', 'PREEMPTED')"
_SENSELESS = (ValueError, TypeError, KeyError, AttributeError, IndexError)  # of what is stored
_LEFT_OUT = {"__pycache__", ".git", ".mypy_cache", ".pytest_cache"}  # of an app's folder
_LAID_OVER = ("resources", "retry", "session", "image", "tags", "outputs", "has_data")
_KEPT = (
    "name, state, params, waiting_on, attempt, not_before, overrides, allocation_seq, block, exit_code, failure, "
    "reason, result, started_at, ended_at"
)


class OldRuns:
    """Moves runs, the oldest first."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._demands: dict[tuple[str, str, str], int] = {}
        self._apps: dict[tuple[str, str], str] = {}
        self._rows_of: dict[int, int] = {}
        """The step of a run's rows, by the run's ``seq``."""

    def move(self) -> None:
        for run in self._all("SELECT seq FROM runs ORDER BY seq"):
            (row,) = self._all('SELECT seq, id, "user", spec, ended_at FROM runs WHERE seq = :seq', seq=run.seq)
            try:
                move, priority = self._understood(row)
            except _SENSELESS as error:
                _log.warning("run_not_understood", run=row.id, why=str(error)[:200])
                move, priority = self._move_odd, 0
            self._do("UPDATE runs SET priority = :priority WHERE seq = :seq", priority=priority, seq=run.seq)
            move(row)

    def _understood(self, run: Any) -> tuple[Callable[[Any], None], int]:
        """How a run is moved, and its priority. Writes nothing of the run yet."""
        spec = json.loads(run.spec)
        priority = int(spec.get("priority") or 0)
        if spec["kind"] == "app":
            manifest = AppManifest.model_validate(spec["manifest"], context=STORED)
            keys = {kind: _AppDemand(manifest, spec, kind) for kind in ("row", "gather")}
            for key in keys.values():
                for overrides in self._overrides(run.seq):
                    key.of(overrides)
            return lambda row: self._move_app(row, spec, manifest, keys), priority
        for part in self._documents(run.seq):
            for task in part:
                _document_demand(task.params, spec, task.overrides)
        return lambda row: self._move_documents(row, spec), priority

    def _move_app(self, run: Any, spec: Any, manifest: AppManifest, keys: Mapping[str, _AppDemand]) -> None:
        app = self._app(spec.get("app_dir") or "", manifest, run.id)
        laid_over = {name: spec.get(name) for name in _LAID_OVER}
        kept = {"row": {"kind": "app", "app": app, "params": spec.get("params"), **laid_over}}
        kept["gather"] = {"kind": "gather", "app": app, **laid_over}
        number = 0
        for kind, name in (("row", manifest.name), ("gather", "gather")):
            first, tasks = self._extent(run.seq, kind)
            if not tasks:
                continue
            step = self._step(run, number, name, spec.get("site") or "", kept[kind], first, tasks)
            number += 1
            self._insert_tasks(run, step, kind, self._demand(run, spec, keys[kind].of(None)))
            for overrides in self._overrides(run.seq, kind):
                self._do(
                    "UPDATE tasks SET demand_seq = :demand WHERE id BETWEEN :low AND :high AND overrides = :overrides",
                    low=run.seq * _PER_RUN + first, high=run.seq * _PER_RUN + first + tasks - 1, overrides=overrides,
                    demand=self._demand(run, spec, keys[kind].of(overrides)),
                )  # fmt: skip
            if kind == "row":
                self._rows_of[run.seq] = step
            elif manifest.gather is not None:
                self._gather(run, step, first, manifest.gather.accept_failures)

    def _gather(self, run: Any, step: int, index: int, accept_failure: bool) -> None:
        """One edge from each step instead of one from each task, those of earlier runs that were retried included."""
        task = run.seq * _PER_RUN + index
        left = 0
        query = f"SELECT DISTINCT upstream / {_PER_RUN} AS run_seq FROM edges WHERE downstream = :task"
        for (earlier,) in self._all(query, task=task):
            if earlier not in self._rows_of:
                continue
            edge = {"up": self._rows_of[earlier], "down": step, "kind": "gather", "accept": accept_failure}
            ended = {"left": 0, "failed": 0}
            if earlier == run.seq:
                (counts,) = self._all(
                    f"SELECT coalesce(sum(CASE WHEN state IN {_ENDED} THEN 0 ELSE 1 END), 0) AS open_tasks, "
                    f"coalesce(sum(CASE WHEN state IN {_ENDED} AND state <> 'COMPLETE' THEN 1 END), 0) AS failed "
                    "FROM tasks WHERE id BETWEEN :low AND :high AND step_seq = :up",
                    up=edge["up"], low=run.seq * _PER_RUN, high=task,
                )  # fmt: skip
                ended = {"left": counts.open_tasks, "failed": counts.failed}
                left += counts.open_tasks
            self._do("INSERT INTO step_edges VALUES (:up, :down, :kind, :accept, :left, :failed)", **edge, **ended)
        self._do("DELETE FROM edges WHERE downstream = :task", task=task)
        self._do(
            "UPDATE tasks SET waiting_on = :steps + (SELECT count(*) FROM data_edges WHERE task_id = :task "
            "AND sha256 IS NULL) WHERE id = :task",
            steps=int(left > 0), task=task,
        )  # fmt: skip

    def _move_documents(self, run: Any, spec: Any) -> None:
        first, tasks = self._extent(run.seq, "task")
        kept = {"kind": "documents", **{name: spec.get(name) for name in _LAID_OVER}}
        step = self._step(run, 0, "tasks", spec.get("site") or "", kept, first, tasks)
        self._insert_tasks(run, step, "task", 0)
        for part in self._documents(run.seq):
            rows = [
                {"of": t.id, "demand": self._demand(run, spec, _document_demand(t.params, spec, t.overrides))}
                for t in part
            ]
            self._connection.execute(sa.text("UPDATE tasks SET demand_seq = :demand WHERE id = :of"), rows)
        between = {"low": run.seq * _PER_RUN, "high": (run.seq + 1) * _PER_RUN - 1}
        if self._all("SELECT 1 FROM edges WHERE downstream BETWEEN :low AND :high LIMIT 1", **between):
            edge = {"up": step, "down": step, "kind": "tasks", "accept": False, "none": 0}
            self._do("INSERT INTO step_edges VALUES (:up, :down, :kind, :accept, :none, :none)", **edge)

    def _move_odd(self, run: Any) -> None:
        """A run that is not understood is kept as it is; the engine lets it be."""
        low, high = run.seq * _PER_RUN, (run.seq + 1) * _PER_RUN - 1
        (rows,) = self._all(
            "SELECT count(*) AS tasks FROM old_tasks WHERE id BETWEEN :low AND :high", low=low, high=high
        )
        step = self._step(run, 0, "tasks", "", run.spec, 0, rows.tasks)
        demand = self._demand(run, {}, ("not understood", None, "{}"))
        for kind in ("row", "gather", "task"):
            self._insert_tasks(run, step, kind, demand)

    # --- parts ---------------------------------------------------------------------

    def _step(self, run: Any, number: int, name: str, site: str, spec: Any, first: int, tasks: int) -> int:
        """A new step's ``seq``. Those of an open run that waits for an image are held."""
        held = False
        if run.ended_at is None:
            held = isinstance(spec, str) or bool(
                self._all(
                    "SELECT 1 FROM run_images LEFT JOIN images ON images.site = run_images.site "
                    "AND images.digest = run_images.digest WHERE run_images.run_seq = :run "
                    "AND (images.state IS NULL OR images.state <> 'READY') LIMIT 1",
                    run=run.seq,
                )
            )
        said = spec if isinstance(spec, str) else kept_json({k: v for k, v in spec.items() if v or k == "kind"})
        values = {"run": run.seq, "number": number, "name": name[:100], "site": site, "spec": said}
        (row,) = self._all(
            "INSERT INTO steps (run_seq, number, name, site, spec, first, tasks, held) "
            "VALUES (:run, :number, :name, :site, :spec, :first, :tasks, :held) RETURNING seq",
            **values, first=first, tasks=tasks, held=held,
        )  # fmt: skip
        return int(row.seq)

    def _insert_tasks(self, run: Any, step: int, kind: str, demand: int) -> None:
        self._do(
            f"INSERT INTO tasks (id, step_seq, demand_seq, {_KEPT}) SELECT id, :step, :demand, {_KEPT} FROM old_tasks "
            "WHERE id BETWEEN :low AND :high AND role = :role",
            step=step, demand=demand, low=run.seq * _PER_RUN, high=(run.seq + 1) * _PER_RUN - 1, role=kind,
        )  # fmt: skip

    def _demand(self, run: Any, spec: Mapping[str, Any], key: tuple[str, str | None, str]) -> int:
        label, image, resources = key
        digest = hashlib.sha256("\0".join((label, image or "", resources)).encode()).hexdigest()
        site = spec.get("site") or ""
        known = (site, run.user, digest)
        if known not in self._demands:
            (row,) = self._all(
                'INSERT INTO demands (site, "user", key, label, image, resources, ready) '
                "VALUES (:site, :user, :digest, :label, :image, :resources, 0) RETURNING seq",
                site=site, user=run.user, digest=digest, label=label, image=image, resources=resources,
            )  # fmt: skip
            self._demands[known] = row.seq
        return self._demands[known]

    def _app(self, folder: str, manifest: AppManifest, run: str) -> str:
        """The digest of an app, whose kept folder is put into the database.

        One whose folder is gone has a digest that nothing else has; what is left of its tasks will say so.
        """
        known = (folder, kept_json(manifest.as_json()))
        if known not in self._apps:
            files = _read_files(folder)
            digest = digest_of(files) if files else hashlib.sha256(f"gone: {known}".encode()).hexdigest()
            if not files:
                _log.warning("app_folder_gone", run=run, folder=folder)
            values = {"digest": digest, "name": manifest.name[:64], "manifest": known[1]}
            self._do(
                "INSERT INTO apps (digest, name, manifest, archive, created_at) VALUES (:digest, :name, :manifest, "
                ":archive, (SELECT max(created_at) FROM runs)) ON CONFLICT DO NOTHING",
                **values, archive=pack_app(files) if files else b"",
            )  # fmt: skip
            self._apps[known] = digest
        return self._apps[known]

    def _extent(self, run_seq: int, kind: str) -> tuple[int, int]:
        """The index of the first task of a kind, and how many there are."""
        (row,) = self._all(
            "SELECT min(id) AS first, count(*) AS tasks FROM old_tasks "
            "WHERE id BETWEEN :low AND :high AND role = :role",
            low=run_seq * _PER_RUN, high=(run_seq + 1) * _PER_RUN - 1, role=kind,
        )  # fmt: skip
        return (row.first or 0) % _PER_RUN, row.tasks

    def _overrides(self, run_seq: int, kind: str | None = None) -> list[str]:
        return [
            row.overrides
            for row in self._all(
                "SELECT DISTINCT overrides FROM old_tasks WHERE id BETWEEN :low AND :high AND overrides IS NOT NULL"
                + (" AND role = :role" if kind else ""),
                low=run_seq * _PER_RUN, high=(run_seq + 1) * _PER_RUN - 1, **({"role": kind} if kind else {}),
            )
        ]  # fmt: skip

    def _documents(self, run_seq: int) -> Iterator[list[Any]]:
        """The tasks of a run in parts."""
        low, high = run_seq * _PER_RUN, (run_seq + 1) * _PER_RUN - 1
        query = "SELECT id, params, overrides FROM old_tasks WHERE id BETWEEN :low AND :high ORDER BY id LIMIT :some"
        while part := self._all(query, low=low, high=high, some=_AT_ONCE):
            yield part
            low = part[-1].id + 1

    def _all(self, statement: str, **values: Any) -> list[Any]:
        return list(self._connection.execute(sa.text(statement), values).all())

    def _do(self, statement: str, **values: Any) -> None:
        self._connection.execute(sa.text(statement), values)


class _AppDemand:
    """What tasks of an app, or its gathering task, ask for: (label, image, resources as JSON)."""

    def __init__(self, manifest: AppManifest, spec: Mapping[str, Any], kind: str) -> None:
        laid_over = spec.get("resources") or {}
        session = Session(spec["session"]) if spec.get("session") else manifest.session
        self._asked = manifest.resources.override(laid_over)
        if kind == "gather" and manifest.gather is not None:
            where = {name: laid_over[name] for name in ("site", "queue") if name in laid_over}
            self._asked = manifest.gather.resources.override(where)
        self._label = f"{manifest.name}@{manifest.version} {session}{' gather' if kind == 'gather' else ''}"
        image = spec.get("image")
        self._image = manifest.image if image is None else None if image == "none" else str(image)

    def of(self, overrides: str | None) -> tuple[str, str | None, str]:
        """Raised by what an earlier attempt lacked."""
        return self._label[:300], self._image, _as_json(self._asked, overrides)


def _document_demand(params: str, spec: Mapping[str, Any], overrides: str | None) -> tuple[str, str | None, str]:
    """The same of a task that brings its commands."""
    task = Task.model_validate(json.loads(params)["task"])
    first, asked = task.executors[0], Resources()
    if task.resources is not None:
        said = task.resources
        asked = resources_from_tes(
            said.cpu_cores, said.ram_gb, said.disk_gb, said.preemptible, said.backend_parameters, "resources"
        )
    program = PurePath(first.command[0]).name if first.command else ""
    asked = asked.override(spec.get("resources") or {})
    return f"{first.image or 'host'} {program}"[:300], first.image, _as_json(asked, overrides)


def _as_json(asked: Resources, overrides: str | None) -> str:
    raised = asked.override(json.loads(overrides)) if overrides else asked
    return kept_json(raised.model_dump(mode="json", exclude_defaults=True))


def _read_files(folder: str) -> list[AppFile]:
    """The regular files of an app's kept folder, by name; none where it is gone."""
    found: list[AppFile] = []
    for parent, folders, names in os.walk(folder) if folder else ():
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                executable = os.access(path, os.X_OK)
                found.append(AppFile(os.path.relpath(path, folder), path.read_bytes(), executable))
    return found


def count_tasks(connection: sa.Connection) -> None:
    """Tasks by state, and those that are ready by demand."""
    connection.execute(
        sa.text(
            "INSERT INTO step_counts (run_seq, step_seq, state, tasks) "
            f"SELECT id / {_PER_RUN}, step_seq, state, count(*) FROM tasks GROUP BY id / {_PER_RUN}, step_seq, state"
        )
    )
    connection.execute(
        sa.text(
            "INSERT INTO step_demands (step_seq, demand_seq, rank, ready, held) "
            "SELECT step_seq, demand_seq, -max(priority), count(*), max(CASE WHEN held THEN 1 ELSE 0 END) FROM tasks "
            "JOIN steps ON steps.seq = step_seq JOIN runs ON runs.seq = run_seq "
            f"WHERE {READY} GROUP BY step_seq, demand_seq"
        )
    )
    connection.execute(
        sa.text(
            "UPDATE demands SET ready = (SELECT coalesce(sum(ready), 0) FROM step_demands "
            "WHERE demand_seq = demands.seq AND held = 0)"
        )
    )
