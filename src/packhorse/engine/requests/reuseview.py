"""Why a task took the result of an earlier one, or did not: which parts of its key differ from the nearest one's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.cachekey import differences, differing
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.text import holdable
from packhorse.domain.views import ReuseView
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import SENSELESS, Steps
from packhorse.engine.steps.keyparts import parts_of
from packhorse.engine.steps.results import files_of
from packhorse.store import lookups as stored
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.tasks import get_task

_ALIKE_IN = 20_000  # tasks of a step that may be looked through for one with the same values


@dataclass(frozen=True, slots=True)
class _Nearest:
    task: int
    step: Step
    names: list[str]
    differs: list[str]


def reuse_view(connection: sa.Connection, steps: Steps, row: Any, step: Step) -> ReuseView | None:
    """Of a task's row; None where nobody asked for results of earlier ones."""
    if not step.spec.reuse:
        return None
    if row.cache_key == "":
        return ReuseView(why="It is looked up, once all that it needs is there.")
    lookup = stored.lookup_of(connection, row.id)
    if lookup is not None and lookup.taken_from is not None:
        taken_from = None if step.spec.reference else _public(connection, lookup.taken_from)  # whose it was is not told
        return ReuseView(why=row.reason or "", taken_from=taken_from, files=files_of(lookup))
    if lookup is not None and lookup.why is not None:
        return ReuseView(why=f"No earlier result was taken: {lookup.why}.")
    inputs = {} if lookup is None else json.loads(lookup.inputs)
    parts = parts_of(connection, step, row.id, row.params, inputs)
    nearest = None if parts is None else _nearest(connection, steps, row, step, parts)
    if nearest is None:
        return ReuseView(why=f"No earlier result was taken: step '{step.row.name}' has no earlier task with a key.")
    name = nearest.step.row.public_id(nearest.task)
    if not nearest.differs:
        return ReuseView(why=f"No earlier result was taken: task {name} has the same key, and had not completed then.")
    why = f"No earlier result was taken: the nearest task, {name}, differs in {_listed(nearest.differs)}."
    return ReuseView(why=why, nearest=name, differs=nearest.differs)


def _public(connection: sa.Connection, task: int) -> str | None:
    run_seq, index = divmod(task, TASKS_PER_RUN)
    run_id = stored.run_ids(connection, [run_seq]).get(run_seq)
    return None if run_id is None else public_task_id(run_id, index)


def _nearest(connection: sa.Connection, steps: Steps, row: Any, step: Step, parts: dict[str, Any]) -> _Nearest | None:
    """The earlier task of the same step and user that differs in the fewest parts; of several, the newest."""
    best: _Nearest | None = None
    for task, of in _earlier(connection, steps, row, step):
        earlier = get_task(connection, task)
        if earlier is None or not earlier.cache_key:
            continue
        lookup = stored.lookup_of(connection, task)
        inputs = {} if lookup is None else json.loads(lookup.inputs)
        theirs = parts_of(connection, of, task, earlier.params, inputs)
        if theirs is None:
            continue
        names = differing(parts, theirs)
        if best is None or len(names) < len(best.names):
            best = _Nearest(task, of, names, [holdable(one) for one in differences(parts, theirs)])
    return best


def _earlier(connection: sa.Connection, steps: Steps, row: Any, step: Step) -> Iterator[tuple[int, Step]]:
    """Tasks of earlier steps like it that are likely to be near, newest first: of its place, and with its values."""
    place = row.id - (step.row.run_seq * TASKS_PER_RUN + step.row.first)
    for about in stored.steps_like(connection, step.row.user, step.row.name, step.row.seq):
        try:
            of = steps.of(connection, about.seq)
        except SENSELESS:
            continue
        first, number = about.run_seq * TASKS_PER_RUN + about.first, about.tasks or 0
        found = {first + place} if place < number else set()
        if number <= _ALIKE_IN:
            found |= stored.tasks_like(connection, first, first + number - 1, row.params)
        for task in sorted(found):
            yield task, of


def _listed(what: list[str]) -> str:
    return what[0] if len(what) == 1 else f"{', '.join(what[:-1])} and {what[-1]}"
