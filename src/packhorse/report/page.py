"""A run as one HTML page: no network, no script, nothing beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packhorse.domain.plain import plain
from packhorse.domain.states import FAILED, TERMINAL, TaskState
from packhorse.report.charts import colour, draw_cores, draw_lanes
from packhorse.report.facts import Again, RunFacts, StepFacts
from packhorse.report.graph import MAX_DRAWN, draw_graph
from packhorse.report.markup import Markup, el, table, text
from packhorse.report.resources import resources_section
from packhorse.report.style import stylesheet
from packhorse.report.troubles import failures_section
from packhorse.report.units import duration, hours, moment, number, share, size, some
from packhorse.report.versions import versions_section

#: A page of ours may load nothing and run nothing, whatever it holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

_MAX_ROWS = 300  # of a table
_MAX_KEYS = 60  # of a legend
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=\D)")


def render_page(facts: RunFacts) -> str:
    """The page, in UTF-8 when it is encoded: some megabytes at the most, however large the run is."""
    title = facts.name or facts.app or facts.id
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="generator", content=f"Packhorse {facts.version}"),
        el("title", f"{title} · {facts.id}"),
        el("style", Markup(stylesheet())),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', list(_sections(facts, title))), lang='en')}\n"


def _sections(facts: RunFacts, title: str) -> Iterator[Markup]:
    yield _header(facts, title)
    yield _tiles(facts)
    yield _steps(facts)
    yield _timeline(facts)
    yield resources_section(facts)
    yield failures_section(facts)
    yield versions_section(facts)
    yield _again(facts.again)
    made = f"Made by Packhorse {facts.version} on {moment(facts.made_at)}. All times are UTC."
    yield el("p", made, class_="note")


def _header(facts: RunFacts, title: str) -> Markup:
    words = [f"Run {facts.id} of {facts.user}", f"accepted {moment(facts.created_at)}"]
    if facts.ended_at is not None:
        words.append(f"ended {moment(facts.ended_at)}")
    else:
        words.append(f"goes on; this is how it was at {moment(facts.made_at)}")
    if facts.retry_of:
        words.append(f"runs again what had failed in {facts.retry_of}")
    return el("header", el("h1", title), el("p", " · ".join(plain(word) for word in words), class_="sub"))


def _tile(value: str, what: object, kind: str = "") -> Markup:
    whole = _BEFORE_UNIT.sub("\u00a0", value)  # a long one breaks between its parts
    return el("div", el("b", whole), el("span", what), class_=f"tile {kind}".rstrip())


def _tiles(facts: RunFacts) -> Markup:
    counts = facts.counts
    complete = counts.get(TaskState.COMPLETE, 0)
    failed = sum(counts.get(state, 0) for state in FAILED)
    open_ = sum(counts.get(state, 0) for state in counts if state not in TERMINAL)
    end = facts.ended_at if facts.ended_at is not None else facts.made_at
    measured = [step.measured for step in facts.steps]
    granted = sum(one.core_s.granted for one in measured)
    used = sum(one.core_s.used for one in measured)
    wasted_gb = sum(one.gb_s.wasted for one in measured)
    attempts = sum(one.attempts for one in measured)
    tiles = [
        _tile(f"{complete:,}", f"of {facts.tasks:,} complete", "ok" if complete == facts.tasks else ""),
        _tile(f"{failed:,}", "task failed" if failed == 1 else "tasks failed", "bad" if failed else ""),
        *([_tile(f"{open_:,}", "not ended")] if open_ else []),
        _tile(f"{attempts:,}", "attempt" if attempts == 1 else "attempts"),
        _tile(duration(end - facts.created_at), "from start to end" if facts.ended_at else "until now"),
        _tile(hours(granted), "core-hours granted"),
        *([_tile(hours(facts.paid_core_s), "core-hours paid")] if facts.paid_core_s else []),
        _tile(share(used, granted), "of granted cores used"),
        _tile(hours(granted - used), "core-hours wasted"),
        *([_tile(hours(wasted_gb), "GB-hours wasted")] if wasted_gb else []),
    ]
    return el("div", tiles, class_="tiles")


def _steps(facts: RunFacts) -> Markup:
    steps = facts.steps
    drawn = draw_graph(*(facts.task_graph or (steps, facts.edges))) if len(steps) <= MAX_DRAWN else None
    if drawn is None:
        drawn = el("p", f"A graph of {len(steps):,} steps is no picture; the table has them.", class_="note")
    rows = [_step_row(step) for step in steps[:_MAX_ROWS]]
    head = ["", "step", "app", "site", "tasks come to be", "tasks", "complete", "failed", "other", "attempts", "output"]
    left = [el("p", f"And {len(steps) - _MAX_ROWS:,} more.", class_="note")] if len(steps) > _MAX_ROWS else []
    told = table(head, rows, numbers=range(5, 11))
    return el("section", el("h2", "Steps"), drawn, told, left)


def _step_row(step: StepFacts) -> list[object]:
    tasks = sum(step.counts.values())
    return [
        el("span", class_=f"key {colour(step.number)}"),
        step.name,
        f"{step.app.name} {step.app.version}" if step.app else "",
        step.site,
        step.kind,
        f"{tasks:,}" if step.tasks is not None else "not known yet",
        f"{step.complete:,}",
        f"{step.failed:,}" if step.failed else "",
        f"{tasks - step.complete - step.failed:,}" if tasks > step.complete + step.failed else "",
        f"{step.measured.attempts:,}",
        _output(step),
    ]


def _output(step: StepFacts) -> str:
    return f"{some(step.outputs.files, 'file')}, {size(step.outputs.bytes)}" if step.outputs.files else ""


def _timeline(facts: RunFacts) -> Markup:
    timeline = facts.timeline
    heading = el("h2", "Timeline")
    if not timeline.total:
        return el("section", heading, el("p", "No attempt has ended yet.", class_="note"))
    names = {step.number: step.name for step in facts.steps}
    keys = [
        el("span", el("span", class_=f"key {colour(step)}"), names.get(step, ""))
        for step in sorted(timeline.steps)[:_MAX_KEYS]
    ]
    started = sum(one.started_at is not None for one in timeline.allocations)
    what = (
        f"From {moment(timeline.start)}, {duration(timeline.end - timeline.start)}. Areas are cores granted to tasks of"
        f" each step; the dashed line is the cores of the {some(started, 'allocation')} in which they ran, which tasks"
        " of other runs may have shared."
    )
    how = (
        "Each bar is an attempt; those with a red edge failed. A frame is the time of the allocation."
        if timeline.has_bars
        else f"Busy cores on each node, in parts of {duration(timeline.bin_s)}. A frame is the time of the allocation."
    )
    if timeline.left_out:
        how += f" {some(timeline.left_out, 'more node')} share one lane."
    return el(
        "section",
        heading,
        el("p", what, class_="note"),
        el("div", keys, class_="legend"),
        draw_cores(timeline),
        el("h3", "By allocation and node"),
        el("p", how, class_="note"),
        draw_lanes(timeline),
        _allocations(facts),
    )


def _allocations(facts: RunFacts) -> Markup:
    every = facts.timeline.allocations
    rows = [
        [
            el("span", one.id, class_="mono"),
            one.site,
            one.job_id or "",
            number(one.nodes),
            number(one.cores),
            moment(one.started_at),
            duration(one.started_at - one.created_at) if one.started_at is not None else "",
            duration(one.ended_at - one.started_at) if one.started_at and one.ended_at else "",
            one.reason or "",
        ]
        for one in every[:_MAX_ROWS]
    ]
    head = ["allocation", "site", "job", "nodes", "cores each", "started", "after", "took", "said of it"]
    more = f", the first {_MAX_ROWS}" if len(every) > _MAX_ROWS else ""
    summary = el("summary", f"{some(len(every), 'allocation')}{more}")
    return el("details", summary, table(head, rows, numbers=(3, 4, 6, 7)))


def _again(again: Again) -> Markup:
    commands = "\n".join(again.commands)
    note = [el("p", again.note, class_="note")] if again.note else []
    return el("section", el("h2", "Run it again"), el("pre", _lines(commands)), note)


def _lines(commands: str) -> Markup:
    return Markup("\n".join(text(line) for line in commands.split("\n")))
