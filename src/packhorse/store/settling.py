"""What the end of tasks means for those that wait for them: edges between steps, and between tasks of documents."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TERMINAL, TaskState
from packhorse.store.chunks import chunks
from packhorse.store.demands import count_made_ready
from packhorse.store.schema import TASKS_PER_RUN, edges, in_run, step_edges, steps, tasks
from packhorse.store.steps import edges_into_step, edges_out_of, load_steps

#: Makes the tasks of a step (a row of ``load_steps``), and of the steps with a task for each of them, from the list
#: that the task of this id left; returns how many tasks each of these steps got, by ``seq``.
Grow = Callable[[sa.Connection, Any, int], Mapping[int, int]]


@dataclass(slots=True)
class InVain:
    """Tasks that can never start: how each ends, and which task is the cause. ``over`` is how those ended."""

    over: dict[int, TaskState]
    ends: dict[int, TaskState] = field(default_factory=dict)
    causes: dict[int, int] = field(default_factory=dict)


def settle_edges(
    connection: sa.Connection, ended: Mapping[int, TaskState], step_of: Mapping[int, int], grow: Grow | None
) -> InVain:
    """Lets those go that waited for ``ended`` tasks; returns those that can never start.

    Chains are followed link by link: they may be longer than the stack is deep.
    """
    settling = _Settling(connection, InVain(dict(ended)), grow)
    settling.follow(step_of)
    return settling.finish()


def settle_new(connection: sa.Connection, new: Mapping[int, Collection[int]]) -> InVain:
    """Which of the tasks that have just come to be, by step, can never start: something that their step waits for has
    failed.
    """
    settling = _Settling(connection, InVain({}), None)
    settling.stop(new)
    return settling.finish()


class _Settling:
    def __init__(self, connection: sa.Connection, in_vain: InVain, grow: Grow | None) -> None:
        self._connection = connection
        self._grow = grow
        self._freed: Counter[int] = Counter()
        self._stopped: dict[int, int] = {}  # tasks that end next, and what stops them
        self.in_vain = in_vain

    def finish(self) -> InVain:
        """Looks at what follows from that, and from that again."""
        while last := self._next_ones():
            self.follow(last)
        self._free()
        return self.in_vain

    def stop(self, new: Mapping[int, Collection[int]]) -> None:
        """Tasks that have come to be, by step, after something that their step waits for has failed."""
        for seq, ids in new.items():
            if (cause := self._stopped_before(seq)) is not None:
                self._stopped |= {task: cause for task in ids if task not in self._stopped}

    def follow(self, last: Mapping[int, int]) -> None:
        """Looks at the edges out of tasks that have just ended; ``last`` has their steps."""
        by_step: defaultdict[int, list[int]] = defaultdict(list)
        for task, step in last.items():
            by_step[step].append(task)
        found = edges_out_of(self._connection, by_step)
        about = load_steps(self._connection, {seq for edge in found for seq in (edge.upstream, edge.downstream)})
        for step in {edge.upstream for edge in found if edge.kind == "tasks"}:
            self._tasks(by_step[step])
        for edge in found:
            ended = by_step[edge.upstream]
            match edge.kind:
                case "each":
                    self._each(edge, about[edge.upstream], about[edge.downstream], ended)
                case "gather":
                    bad = [task for task in ended if self.in_vain.over[task] is not TaskState.COMPLETE]
                    self._gather(edge, -len(ended), bad)
                case "items":
                    self._items(about[edge.downstream], ended[0])

    def _next_ones(self) -> dict[int, int]:
        """The tasks that were stopped and had not ended, with their steps."""
        found: dict[int, int] = {}
        terminal = self.in_vain.over
        queued = sa.select(tasks.c.id, tasks.c.step_seq).where(tasks.c.state == TaskState.QUEUED)
        for some in chunks([task for task in self._stopped if task not in terminal]):
            for row in self._connection.execute(queued.where(tasks.c.id.in_(some))):
                cause = self._stopped[row.id]
                canceled = terminal[cause] is TaskState.CANCELED
                found[row.id] = row.step_seq
                self.in_vain.ends[row.id] = TaskState.CANCELED if canceled else TaskState.SYSTEM_ERROR
                self.in_vain.causes[row.id] = cause
        self.in_vain.over |= self.in_vain.ends
        self._stopped = {}
        return found

    def _free(self) -> None:
        """Takes what has come off what tasks wait for."""
        if self._freed:
            statement = sa.update(tasks).where(tasks.c.id == sa.bindparam("of"))
            values = [{"of": task, "less": number} for task, number in sorted(self._freed.items())]
            self._connection.execute(statement.values(waiting_on=tasks.c.waiting_on - sa.bindparam("less")), values)
            count_made_ready(self._connection, set(self._freed) - set(self.in_vain.ends))

    def _tasks(self, ended: Sequence[int]) -> None:
        """Edges between single tasks."""
        for some in chunks(ended):
            for row in self._connection.execute(sa.select(edges).where(edges.c.upstream.in_(some))):
                self._one(row.upstream, row.downstream, row.accept_failure)

    def _each(self, edge: Any, upstream: Any, downstream: Any, ended: Sequence[int]) -> None:
        if downstream.tasks:
            for task in ended:
                self._one(task, task - upstream.first + downstream.first, edge.accept_failure)

    def _one(self, upstream: int, downstream: int, accept_failure: bool) -> None:
        if self.in_vain.over[upstream] is TaskState.COMPLETE or accept_failure:
            self._freed[downstream] += 1
        else:
            self._stopped.setdefault(downstream, upstream)

    def _gather(self, edge: Any, more: int, bad: Sequence[int]) -> None:
        """``more`` tasks are to be waited for (less than 0: have ended), of which ``bad`` did not complete."""
        mine = (
            step_edges.c.upstream == edge.upstream,
            step_edges.c.downstream == edge.downstream,
            step_edges.c.kind == "gather",
        )
        values = {"left": step_edges.c.left + more, "failed": step_edges.c.failed + len(bad)}
        statement = sa.update(step_edges).where(*mine).values(values).returning(step_edges.c.left)
        left = self._connection.execute(statement).scalar_one()
        if bad and not edge.accept_failure:
            self._stopped |= {task: bad[0] for task in self._tasks_of(edge.downstream) if task not in self._stopped}
        elif left == 0:
            self._freed.update(self._tasks_of(edge.downstream))

    def _tasks_of(self, step_seq: int) -> range:
        row = load_steps(self._connection, [step_seq])[step_seq]
        first = row.run_seq * TASKS_PER_RUN + row.first
        return range(first, first + (row.tasks or 0))

    def _items(self, downstream: Any, upstream: int) -> None:
        """The task that leaves the list of a step has ended."""
        if self.in_vain.over[upstream] is not TaskState.COMPLETE:
            self._never(downstream.seq, upstream)
            return
        if (cause := self._stopped_before(downstream.seq)) is not None:
            self._never(downstream.seq, cause)
            return
        if self._grow is None:
            raise RuntimeError("who completes tasks says how steps grow")
        grown = self._grow(self._connection, downstream, upstream)
        self.stop({seq: self._tasks_of(seq) for seq in grown.keys() - {downstream.seq}})
        for edge in edges_out_of(self._connection, grown):
            if edge.kind == "gather":
                self._gather(edge, grown[edge.upstream] - 1, [])  # the list itself is no longer waited for

    def _stopped_before(self, step_seq: int) -> int | None:
        """A task without which a step cannot start, and which ended badly before the tasks of the step came to be."""
        for edge in edges_into_step(self._connection, step_seq):
            if _has_failed(edge):
                return self._bad_task(edge.upstream)
        return None

    def _bad_task(self, step_seq: int) -> int | None:
        """A task of a step that ended badly; where its list never came, the one that is the cause of that."""
        pending = [step_seq]
        while pending:
            seq = pending.pop()
            bad = sa.and_(tasks.c.step_seq == seq, tasks.c.state.in_(TERMINAL - {TaskState.COMPLETE}))
            run_seq = load_steps(self._connection, [seq])[seq].run_seq
            query = sa.select(tasks.c.id, tasks.c.state).where(in_run(run_seq), bad).limit(1)
            if (found := self._connection.execute(query).first()) is not None:
                self.in_vain.over[found.id] = TaskState(found.state)
                return int(found.id)
            above = edges_into_step(self._connection, seq)
            pending += [edge.upstream for edge in above if edge.kind in ("items", "each") or _has_failed(edge)]
        return None

    def _never(self, step_seq: int, cause: int) -> None:
        """The list of a step will never be known: it has no tasks, nor have those with one for each of them."""
        pending = [step_seq]
        while pending:
            seq = pending.pop()
            self._connection.execute(sa.update(steps).where(steps.c.seq == seq).values(tasks=0))
            for edge in edges_out_of(self._connection, [seq]):
                if edge.kind == "gather":
                    self._gather(edge, -1, [cause])
                else:
                    pending.append(edge.downstream)


def _has_failed(edge: Any) -> bool:
    """Whether the tasks downstream can never start, since some upstream did not complete."""
    return bool(edge.kind == "gather" and edge.failed and not edge.accept_failure)
