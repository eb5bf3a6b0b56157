"""Gathers what a report says of a run: one pass over its attempts, in constant memory."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from packhorse import __version__
from packhorse.domain.failures import FailureClass
from packhorse.domain.resources import GB, MB, Resources
from packhorse.domain.states import TaskState
from packhorse.domain.text import shown_name
from packhorse.engine.requests.accounting import account
from packhorse.engine.requests.failing import Failures
from packhorse.engine.requests.rerun import again
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import SENSELESS, Steps
from packhorse.report.facts import (
    AppFacts,
    AskedFacts,
    DataFacts,
    EdgeFacts,
    ImageFacts,
    Measured,
    OutputFacts,
    RunFacts,
    StepFacts,
)
from packhorse.report.graph import MAX_DRAWN
from packhorse.report.timeline import MAX_BARS, Allocation, Bar, Timeline
from packhorse.sites.base import Shape
from packhorse.store.records import estimated_in_run
from packhorse.store.reports import (
    allocations_by_seq,
    asked_in_run,
    data_of_run,
    delivered_of,
    edges_of_run,
    images_of_run,
    iter_attempts,
    iter_decided,
    iter_tasks_of_step,
    places_of_run,
    task_edges_of_run,
)
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.shares import iter_shares
from packhorse.store.steps import counts_of_steps, steps_of_run

MAX_DATA = 300
_EXAMPLES = 10  # of the files that a step left


def facts_of(connection: sa.Connection, steps: Steps, run: Any, now: float) -> RunFacts:
    """All that a report says of a run's row. What its user may not see of allocations is not in it."""
    told = _Told(connection, steps, run.seq)
    timeline, keys = _timeline(connection, run.seq)
    failures = Failures()
    for row in iter_attempts(connection, run.seq):
        told.add(row)
        failures.add(told.step_at(row.task_id), row)
        if row.started_at is not None:
            timeline.add(keys.get((row.allocation_seq, row.journal_id)), told.bar(row, bars=timeline.has_bars))
    told.note_deliveries(connection)
    told.note_predictions(connection, run.seq)
    data, number = data_of_run(connection, run.seq, MAX_DATA)
    paid = account(iter_shares(connection, run_seq=run.seq), (), now, whole=False).total
    return RunFacts(
        id=run.id,
        user=run.user,
        name=run.name,
        app=run.app,
        created_at=run.created_at,
        ended_at=run.ended_at,
        retry_of=run.retry_of,
        made_at=now,
        version=__version__,
        steps=told.facts,
        edges=told.edges,
        timeline=timeline,
        failures=failures.facts(connection, run, told.seqs),
        images=[
            ImageFacts(row.reference, row.site, row.digest, row.size_bytes)
            for row in images_of_run(connection, run.seq)
        ],
        data=[DataFacts(row.url, row.version, row.site, row.sha256, row.size, row.tasks) for row in data],
        data_left_out=number - len(data),
        again=again(run, told.steps),
        task_graph=_task_graph(connection, run.seq, told.facts) if told.are_documents else None,
        estimated=estimated_in_run(connection, run.seq),
        paid_core_s=paid.used_core_s,
    )


class _Told:
    """The steps of a run, filled with what its attempts say."""

    def __init__(self, connection: sa.Connection, steps: Steps, run_seq: int) -> None:
        rows = steps_of_run(connection, run_seq)
        counts = counts_of_steps(connection, run_seq)
        self.seqs = [row.seq for row in rows]
        self.steps: list[Step | None] = [_understood(connection, steps, row) for row in rows]
        numbers = {seq: number for number, seq in enumerate(self.seqs)}
        edges = edges_of_run(connection, run_seq)
        self.edges = [
            EdgeFacts(numbers[row.upstream], numbers[row.downstream], row.kind)
            for row in edges
            if row.upstream in numbers and row.upstream != row.downstream
        ]
        self._asked: dict[int, Resources] = {}
        by_step: defaultdict[int, list[AskedFacts]] = defaultdict(list)
        for row in asked_in_run(connection, run_seq):
            resources = self._asked[row.demand_seq] = steps.asked(connection, row.demand_seq).resources
            by_step[row.step_seq].append(_asked(resources, row.tasks))
        names = [row.name for row in rows]
        kinds = [_kind(number, row, names, self.edges, self.steps[number]) for number, row in enumerate(rows)]
        self.facts = [
            _step_facts(number, row, self.steps[number], counts.get(row.seq, {}), by_step[row.seq], kinds[number])
            for number, row in enumerate(rows)
        ]
        begun = sorted((row.first, number) for number, row in enumerate(rows) if row.tasks)
        self._firsts, self._numbers = [first for first, _ in begun], [number for _, number in begun]
        self._files: list[tuple[int, int, dict[str, Any]]] = []  # task, attempt, example

    @property
    def are_documents(self) -> bool:
        """Whether the run is TES documents, with edges of their own."""
        return len(self.steps) == 1 and self.steps[0] is not None and self.steps[0].spec.kind == "documents"

    def step_at(self, task: int) -> int:
        """The number of the step that a task belongs to."""
        return self._numbers[bisect_right(self._firsts, task % TASKS_PER_RUN) - 1]

    def add(self, row: Any) -> None:
        """An attempt that ended."""
        step = self.facts[self.step_at(row.task_id)]
        nodes = self._asked[row.demand_seq].nodes if row.demand_seq in self._asked else 1
        _measure(step.measured, row, nodes)
        if row.files and row.state == TaskState.COMPLETE and row.attempt == row.last:
            self._keep(step.outputs, row, self.seqs[step.number])

    def _keep(self, outputs: OutputFacts, row: Any, step_seq: int) -> None:
        files = json.loads(row.files)
        outputs.files += len(files)
        for file in files:
            outputs.bytes += file.get("size") or 0
            if len(outputs.examples) < _EXAMPLES:
                step = self.steps[self.seqs.index(step_seq)]
                task = step.row.public_id(row.task_id) if step else str(row.task_id % TASKS_PER_RUN)
                example = {**file, **shown_name(str(file["path"])), "task": task}
                outputs.examples.append(example)
                self._files.append((row.task_id, row.attempt, example))

    def note_deliveries(self, connection: sa.Connection) -> None:
        """Says of the files that are told where they were delivered, and their checksums."""
        found = delivered_of(connection, {task for task, _, _ in self._files})
        for task, attempt, example in self._files:
            if (row := found.get((task, attempt, str(example["path"])))) is not None:
                example.update(url=row.url, sha256=row.sha256 or example.get("sha256"))

    def note_predictions(self, connection: sa.Connection, run_seq: int) -> None:
        """Says what attempts were predicted to use that were sized by earlier ones, beside what they used."""
        for row in iter_decided(connection, run_seq):
            measured = self.facts[self.step_at(row.task_id)].measured
            decision = json.loads(row.decision)
            failed = row.failure is not None and row.failure != FailureClass.CANCELED
            memory_mb, wall_s = _predicted(decision, "memory_mb"), _predicted(decision, "walltime_s")
            if memory_mb is not None and row.peak_memory:
                measured.predicted_memory.add(memory_mb * MB, row.peak_memory, failed=failed)
            if wall_s is not None and row.wall_s:
                measured.predicted_time.add(wall_s, row.wall_s, failed=failed)

    def bar(self, row: Any, *, bars: bool) -> Bar:
        """As it is drawn; only one that is drawn by itself has a label."""
        number = self.step_at(row.task_id)
        nodes = self._asked[row.demand_seq].nodes if row.demand_seq in self._asked else 1
        cores = (row.cores or 1.0) * nodes
        label = ""
        if bars:
            name = row.name or f"task {row.task_id % TASKS_PER_RUN}"
            how = row.failure or "ended well"
            took = max(0.0, row.ended_at - row.started_at)
            label = (
                f"{self.facts[number].name}: {name}, attempt {row.attempt}: {how} after {took:.1f} s, {cores:g} cores"
            )
        return Bar(number, row.started_at, row.ended_at, cores, row.failure is not None, label)


def _predicted(decision: Mapping[str, Any], name: str) -> float | None:
    """The median of a quantity in a decision (``engine.sizing.explained``); None where it was not learnt."""
    told = decision.get(name)
    return float(told["median"]) if told and told.get("history") and told.get("median") is not None else None


def _task_graph(
    connection: sa.Connection, run_seq: int, steps: Sequence[StepFacts]
) -> tuple[list[StepFacts], list[EdgeFacts]] | None:
    """Each task as a box of the graph, while they are few and have edges."""
    edges = task_edges_of_run(connection, run_seq) if (steps[0].tasks or 0) <= MAX_DRAWN else []
    if not edges:
        return None
    first = run_seq * TASKS_PER_RUN
    rows = list(iter_tasks_of_step(connection, first, steps[0].tasks or 0))
    boxes = [
        StepFacts(0, row.name or f"task {place}", "", "", 1, {TaskState(row.state): 1}, None, None, ())
        for place, row in enumerate(rows)
    ]
    places = {row.id: place for place, row in enumerate(rows)}
    known = [(places.get(edge.upstream), places.get(edge.downstream)) for edge in edges]
    return boxes, [EdgeFacts(up, down, "") for up, down in known if up is not None and down is not None]


def _understood(connection: sa.Connection, steps: Steps, row: Any) -> Step | None:
    with suppress(*SENSELESS):
        return steps.of(connection, row.seq)
    return None


def _asked(resources: Resources, tasks: int) -> AskedFacts:
    return AskedFacts(
        tasks, resources.cpu_cores, resources.nodes, resources.memory_mb, resources.walltime_s, resources.gpus
    )


def _step_facts(
    number: int,
    row: Any,
    step: Step | None,
    counts: Mapping[TaskState, int],
    asked: Sequence[AskedFacts],
    kind: str,
) -> StepFacts:
    manifest = step.app if step is not None else None
    app = None
    if step is not None and manifest is not None:
        app = AppFacts(manifest.name, manifest.version, step.spec.app, manifest.title)
    image = manifest.image if manifest is not None else None
    return StepFacts(number, row.name, row.site, kind, row.tasks, counts, app, image, asked)


def _kind(number: int, row: Any, names: Sequence[str], edges: Sequence[EdgeFacts], step: Step | None) -> str:
    """How its tasks come to be."""
    into = {edge.kind: names[edge.upstream] for edge in edges if edge.downstream == number}
    if step is not None and step.spec.kind == "documents":
        return "documents"
    if "each" in into:
        return f"one for each of {into['each']}"
    if "items" in into:
        return f"one for each item of {into['items']}"
    if "gather" in into and row.tasks == 1:
        return "one, after all of others"
    return "one" if row.tasks == 1 else "one for each row"


def _measure(measured: Measured, row: Any, nodes: int) -> None:
    """Adds an attempt; what was not measured is left out."""
    failed = row.failure is not None and row.failure != FailureClass.CANCELED
    measured.attempts += 1
    measured.failed += failed
    measured.read_bytes += row.read_bytes or 0
    measured.write_bytes += row.write_bytes or 0
    lost = row.failure is not None
    wall_s = row.wall_s
    cores = (row.cores or 0.0) * nodes
    if cores:
        measured.cores_granted.add(cores)
    if row.memory_mb is not None:
        measured.memory_granted.add(row.memory_mb * MB)
    if row.walltime_s is not None:
        measured.walltime_granted.add(row.walltime_s)
    if row.peak_memory is not None:
        measured.peak_memory.add(row.peak_memory)
        if row.memory_mb is not None and row.peak_memory > 0:
            measured.memory.add(row.memory_mb * MB, row.peak_memory, failed=failed)
    if wall_s is None or wall_s < 0:
        return
    measured.wall_s.add(wall_s)
    if row.walltime_s is not None and wall_s > 0:
        measured.time.add(row.walltime_s, wall_s, failed=failed)
    cpu_s = max(0.0, row.cpu_s or 0.0)
    measured.cpu_s += cpu_s
    if wall_s > 0:
        measured.cores_used.add(cpu_s / wall_s)
    measured.core_s.add(cores * wall_s, cpu_s, failed=lost)
    if row.memory_mb is not None:
        granted = row.memory_mb * MB * nodes * wall_s / GB
        measured.gb_s.add(granted, (row.peak_memory or 0) * wall_s / GB, failed=lost)


def _timeline(connection: sa.Connection, run_seq: int) -> tuple[Timeline, dict[tuple[int | None, int | None], int]]:
    """An empty timeline of the run, and the keys of its lanes."""
    places = places_of_run(connection, run_seq)
    rows = allocations_by_seq(connection, {place.allocation_seq for place in places if place.allocation_seq})
    allocations = {seq: _allocation(row) for seq, row in rows.items()}
    starts = [place.first_start for place in places if place.first_start is not None]
    ends = [place.last_end for place in places if place.last_end is not None]
    lanes: dict[int | None, tuple[Allocation | None, str | None]] = {}
    keys: dict[tuple[int | None, int | None], int] = {}
    for number, place in enumerate(places):
        keys[place.allocation_seq, place.journal_id] = number
        lanes[number] = (allocations.get(place.allocation_seq), place.node)
    bars = sum(place.attempts for place in places) <= MAX_BARS
    start, end = min(starts, default=0.0), max(ends, default=0.0)
    return Timeline(start, end, lanes, list(allocations.values()), bars=bars), keys


def _allocation(row: Any) -> Allocation:
    shape = Shape(**json.loads(row.shape))
    return Allocation(
        row.id,
        row.site,
        row.job_id,
        shape.cores,
        shape.nodes,
        row.created_at,
        row.started_at,
        row.ended_at,
        row.reason,
    )
