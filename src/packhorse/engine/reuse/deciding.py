"""Decides what becomes of tasks that are looked up: which take what an earlier one left, which wait, which start."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import sqlalchemy as sa

from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.text import kept_json
from packhorse.engine.reuse.keyer import Keyed
from packhorse.engine.reuse.taking import Candidate, Taken, Wanted
from packhorse.engine.steps.base import Step
from packhorse.sites.site import Site
from packhorse.store import lookups as stored
from packhorse.store.makers import under_way
from packhorse.store.schema import TASKS_PER_RUN

_TRIES = 3  # of earlier tasks with the same key whose outputs are gone
DELIVERED = "its outputs are to be delivered, which only a task does that runs"

#: A transaction that reads the store.
Reading = Callable[[], AbstractContextManager[sa.Connection]]


#: Takes what earlier tasks left; by position, what came of it.
Take = Callable[[Sequence[Candidate]], Sequence[Taken]]


@dataclass
class Decided:
    """What becomes of some tasks: from which earlier ones they take, and why others do not; which wait for others, and
    which make reference data with a key.
    """

    taken: dict[int, stored.Earlier] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)
    makers: dict[str, int] = field(default_factory=dict)


class Deciding:
    """Decides about tasks of one site. ``take`` looks at the site."""

    def __init__(self, site: Site, reading: Reading, take: Take) -> None:
        self._site = site
        self._reading = reading
        self._take = take

    def decide(self, keyed: Sequence[Keyed]) -> Decided:
        """Raises what ``take`` raises."""
        decided = Decided()
        waiting: dict[int, Keyed] = {}
        shared = {one.key for one in keyed if one.key is not None and one.step.spec.reference}
        makers: Mapping[str, int] = {}
        if shared:
            with self._reading() as connection:
                makers = under_way(connection, shared)
        for one in keyed:
            if one.key is None:
                decided.refused[one.task] = f"{one.why}"
            elif one.step.delivers(one.params):
                decided.refused[one.task] = DELIVERED
            elif one.key in makers:
                decided.waiting.add(one.task)
            else:
                waiting[one.task] = one
        tried: dict[str, int | None] = {}
        for _ in range(_TRIES):
            keys = {one.key: tried.get(one.key) for one in waiting.values() if one.key is not None}
            if not keys:
                break
            with self._reading() as connection:
                found = stored.newest_with_keys(connection, keys)
                earlier = stored.earlier_tasks(connection, set(found.values()))
            pairs = [(one, earlier[found[one.key]]) for one in waiting.values() if one.key in found]
            self._take_all(pairs, decided)
            tried |= found
            waiting = {one.task: one for one, _ in pairs if one.task not in decided.taken}
        _choose_makers(keyed, shared, decided)
        return decided

    def _take_all(self, pairs: Sequence[tuple[Keyed, stored.Earlier]], decided: Decided) -> None:
        """Takes what can be: results, and at the site the outputs."""
        steps: dict[int, Step] = {}
        candidates: list[Candidate] = []
        for one, earlier in pairs:
            files = json.loads(earlier.files or "[]")
            if not files:
                decided.taken[one.task] = earlier
            elif any("sha256" not in file for file in files):
                decided.refused[one.task] = _refusal(one.step, earlier, "have no checksums")
            else:
                steps[one.task] = one.step
                source = self._site.output_folder(earlier.run_id, earlier.id % TASKS_PER_RUN)
                target = self._site.output_folder(one.step.row.run_id, one.step.row.index(one.task))
                candidates.append(Candidate(one.task, earlier, Wanted(source, target, files)))
        for candidate, taken in zip(candidates, self._take(candidates), strict=True):
            if isinstance(taken, str):
                what = f"are not as it left them: {taken}"
                decided.refused[candidate.task] = _refusal(steps[candidate.task], candidate.earlier, what)
            else:
                decided.taken[candidate.task] = _with_stamps(candidate, taken)


def _choose_makers(keyed: Sequence[Keyed], shared: Collection[str], decided: Decided) -> None:
    """Of those that would make the same reference data the first does, and the others wait for it."""
    for one in keyed:
        if one.key is None or one.key not in shared or one.task in decided.taken:
            continue
        if decided.refused.get(one.task) == DELIVERED or one.task in decided.waiting:
            continue
        if decided.makers.setdefault(one.key, one.task) != one.task:
            decided.waiting.add(one.task)


def _with_stamps(candidate: Candidate, stamps: Sequence[str | None]) -> stored.Earlier:
    """A file that has got another name has another stamp."""
    if not stamps:
        return candidate.earlier
    new = [{**file, "stamp": stamp} for file, stamp in zip(candidate.wanted.files, stamps, strict=True)]
    return candidate.earlier._replace(files=kept_json(new))


def _refusal(step: Step, earlier: stored.Earlier, what: str) -> str:
    if step.spec.reference:
        return f"the site had this reference data, but its files {what}"
    task = public_task_id(earlier.run_id, earlier.id % TASKS_PER_RUN)
    return f"task {task} has the same key, but its outputs {what}"
