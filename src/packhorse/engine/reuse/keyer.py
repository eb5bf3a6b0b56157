"""Computes the keys of tasks that are about to start: for thousands at a time, with a few statements."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
import structlog

from packhorse.domain.cachekey import INPUT, KeyMaker, content
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.outputpath import kept_as
from packhorse.domain.states import TaskState
from packhorse.domain.text import kept_json
from packhorse.engine.reuse.filesums import FileSums, Found
from packhorse.engine.steps.base import BroughtFile, Identity, Input, LocalFile, Results, Step, UpstreamFile
from packhorse.engine.steps.cache import SENSELESS, Steps
from packhorse.engine.steps.files import url_of
from packhorse.engine.steps.keyparts import folder_digest, images_of_runs
from packhorse.engine.steps.results import gathered_steps
from packhorse.store import lookups as stored
from packhorse.store.data import DataKey
from packhorse.store.schema import TASKS_PER_RUN

_STEPS = 4096
_FOLDERS = 256
_PAGE = 2000

_log = structlog.get_logger("packhorse.reuse")


class NoKey(Exception):
    """A task has no key; the message says why, as part of a sentence."""


class NotYet(Exception):
    """The content of an input is not known yet."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A task with its key, and with the content of its inputs by name; or ``why`` it has none."""

    task: int
    step: Step
    params: str
    key: str | None
    inputs: Mapping[str, Any]
    why: str | None = None


@dataclass(frozen=True, slots=True)
class _Common:
    maker: KeyMaker
    images: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Told:
    """A task of which all is known but the content of its inputs."""

    row: Any
    step: Step
    identity: Identity
    maker: KeyMaker


class Keyer:
    """Keys of the tasks of one site. Remembers what steps have in common, and what apps' folders hold."""

    def __init__(self, steps: Steps, sums: FileSums) -> None:
        self._steps = steps
        self._sums = sums
        self._common: OrderedDict[int, _Common | None] = OrderedDict()
        self._folders: OrderedDict[str, str] = OrderedDict()

    def keys(self, connection: sa.Connection, rows: Sequence[Any]) -> list[Keyed]:
        """Of tasks (id, step_seq, params), those of which all is known that a key is made of."""
        steps = self._steps.many(connection, {row.step_seq for row in rows})
        commons = self._commons(connection, steps)
        told: list[_Told] = []
        found: list[Keyed] = []
        for row in rows:
            if row.step_seq in commons:
                step, common = steps[row.step_seq], commons[row.step_seq]
                try:
                    if common is None:
                        raise ValueError("its step makes no sense")
                    told.append(_Told(row, step, step.identity(row.id, row.params, common.images), common.maker))
                except SENSELESS:  # it must not hold up the others: who runs it is told
                    _log.exception("no_key", task=row.id)
                    found.append(Keyed(row.id, step, row.params, None, {}, "its key cannot be computed"))
        contents = _Contents(connection, told, self._sums)
        return found + [keyed for one in told if (keyed := _keyed(one, contents)) is not None]

    def _commons(self, connection: sa.Connection, steps: Mapping[int, Step]) -> dict[int, _Common | None]:
        """What the tasks of steps have in common; of those whose images are not known yet, nothing; None of those that
        make no sense.
        """
        new = {seq: step for seq, step in steps.items() if seq not in self._common}
        images = images_of_runs(connection, {step.row.run_seq for step in new.values()}) if new else {}
        for seq, step in new.items():
            digests = images[step.row.run_seq]
            if digests is None:
                continue
            try:
                self._common[seq] = _Common(self._maker(connection, step, digests), digests)
            except SENSELESS:
                _log.exception("no_keys", step=seq)
                self._common[seq] = None
        found = {seq: self._common[seq] for seq in steps if seq in self._common}
        while len(self._common) > _STEPS:
            self._common.popitem(last=False)
        return found

    def _maker(self, connection: sa.Connection, step: Step, images: Mapping[str, str]) -> KeyMaker:
        common = step.common_parts(images, lambda: self._folder(connection, step.spec.app))
        return KeyMaker(None if step.spec.reference else step.row.user, step.row.site, common)

    def _folder(self, connection: sa.Connection, app: str) -> str:
        if app not in self._folders:
            self._folders[app] = folder_digest(connection, app)
            while len(self._folders) > _FOLDERS:
                self._folders.popitem(last=False)
        return self._folders[app]


def _keyed(one: _Told, contents: _Contents) -> Keyed | None:
    """A task with its key; None where the content of an input is not known yet."""
    row, step = one.row, one.step
    try:
        inputs = {name: contents.of(row.id, step, wanted) for name, wanted in one.identity.inputs.items()}
    except NotYet:
        return None
    except NoKey as why:
        return Keyed(row.id, step, row.params, None, {}, str(why))
    own = {**one.identity.parts, **{INPUT + name: part for name, part in inputs.items()}}
    return Keyed(row.id, step, row.params, one.maker.key(own), inputs)


class _Contents:
    """The content of the inputs of some tasks."""

    def __init__(self, connection: sa.Connection, told: Sequence[_Told], sums: FileSums) -> None:
        self._connection = connection
        inputs = [one for each in told for one in each.identity.inputs.values()]
        self._files = Found()
        if local := {one.path for one in inputs if isinstance(one, LocalFile)}:
            self._files = sums.of(connection, local)
        self._data: Mapping[int, Mapping[DataKey, str]] = {}
        if any(isinstance(one, DataKey | BroughtFile) for one in inputs):
            self._data = stored.data_sums(connection, {one.row.id for one in told})
        upstream = [one for one in inputs if isinstance(one, UpstreamFile)]
        self._runs = stored.run_seqs(connection, {one.run_id for one in upstream})
        ids = {task for one in upstream if (task := self._task(one)) is not None}
        self._left: dict[int, Any] = dict(stored.files_left(connection, ids)) if ids else {}

    def of(self, task: int, step: Step, one: Input) -> list[str]:
        """The part of a key that an input is. Raises NotYet, NoKey."""
        match one:
            case UpstreamFile() | Results() if step.spec.reference:
                raise NoKey("what another task of a user left is no input of reference data that is for all")
            case BroughtFile(path):
                brought = {key.url: known for key, known in self._data.get(task, {}).items()}
                if (known := brought.get(url_of(path))) is None:
                    raise NoKey(f"the content of the file '{path}' is not known")
                return content(path, known)
            case LocalFile(path):
                if path in self._files.problems:
                    raise NoKey(self._files.problems[path])
                if path not in self._files.sums:
                    raise NotYet
                return content(path, self._files.sums[path])
            case UpstreamFile():
                return content(one.path, self._upstream(one))
            case DataKey(url, version):
                known = self._data.get(task, {}).get(one)
                if known is None:
                    raise NoKey(f"the content of {url} is not known")
                return content("" if version else urlsplit(url).path, known)
            case _:
                return content("", results_digest(self._connection, step))

    def _task(self, one: UpstreamFile) -> int | None:
        seq = self._runs.get(one.run_id)
        return None if seq is None else seq * TASKS_PER_RUN + one.index

    def _upstream(self, one: UpstreamFile) -> str:
        task = self._task(one)
        left = self._left.get(task) if task is not None else None
        if task is not None and isinstance(left, str):
            left = self._left[task] = checksums(left)
        known = left.get(kept_as(one.path)) if left else None
        if known is None:
            name = public_task_id(one.run_id, one.index)
            raise NoKey(f"task {name} kept no checksum of its output '{one.path}', which is an input")
        return str(known)


def checksums(files: str | None) -> dict[str, str | None]:
    """The checksums of the outputs in a task's ``files``, by where they are kept."""
    return {kept_as(file["path"]): file.get("sha256") for file in json.loads(files or "[]")}


def results_digest(connection: sa.Connection, step: Step) -> str:
    """Of what a gathering task is told of all others, but for their ids. Raises NoKey."""
    digest = hashlib.sha256()
    for row in gathered_steps(connection, step).values():
        states = None if row.run_seq == step.row.run_seq else (TaskState.COMPLETE,)
        digest.update(f"{kept_json(['step', row.name])}\n".encode())
        first = row.run_seq * TASKS_PER_RUN + row.first
        _add_results(connection, digest.update, row.run_id, first, first + (row.tasks or 0) - 1, states)
    return digest.hexdigest()


def _add_results(
    connection: sa.Connection,
    add: Callable[[bytes], None],
    run_id: str,
    first: int,
    last: int,
    states: Sequence[TaskState] | None,
) -> None:
    while first <= last:
        page = stored.page_left(connection, first, last, _PAGE, states)
        for one in page:
            files = checksums(one.files)
            if not one.cache_key or None in files.values():
                name = public_task_id(run_id, one.id % TASKS_PER_RUN)
                raise NoKey(f"task {name}, whose result is an input, has no key, or its outputs have no checksums")
            add(f"{kept_json([one.name, one.state, one.cache_key, one.result, sorted(files.items())])}\n".encode())
        if len(page) < _PAGE:
            return
        first = page[-1].id + 1
