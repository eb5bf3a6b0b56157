"""Failures with their evidence."""

from __future__ import annotations

from packhorse.report.facts import Example, FailureFacts, RunFacts
from packhorse.report.markup import Markup, el, lines
from packhorse.report.units import duration, moment, size, some

_WHAT = {
    "app": "The program failed",
    "out_of_memory": "Out of memory",
    "out_of_time": "Out of time",
    "node_lost": "The node or its agent was lost",
    "preempted": "The site took the allocation away",
    "image": "The image could not be prepared",
    "staging": "Data could not be brought or delivered",
    "scheduler": "The batch scheduler refused or lost the allocation",
    "upstream": "A task whose output was needed had failed",
    "no_site": "No site can give what was asked for",
    "canceled": "Canceled",
}
_SHOWN = 3  # examples that are open
_TAIL_LINES = 25


def failures_section(facts: RunFacts) -> Markup:
    """The most frequent first; those of tasks that waited for others last."""
    heading = el("h2", "Failures")
    if not facts.failures:
        return el("section", heading, el("p", "None: no attempt failed.", class_="note"))
    names = {step.number: step.name for step in facts.steps}
    return el("section", heading, [_failure(one, names.get(one.step, "")) for one in facts.failures])


def _failure(one: FailureFacts, step: str) -> Markup:
    code = f", exit code {one.exit_code}" if one.exit_code else f", signal {one.signal}" if one.signal else ""
    title = f"{_WHAT.get(one.failure, one.failure)} in step {step}{code}"
    if one.attempts:
        mended = max(0, one.attempts - one.tasks)
        told = f"{some(one.attempts, 'attempt')} ended so, "
        told += f"{one.tasks:,} of them the last of its task" if mended else "each the last of its task"
    else:
        told = f"{some(one.tasks, 'task')}, never tried"
    return el(
        "div",
        el("h3", title),
        el("p", f"Class {one.failure}: {told}.", class_="note"),
        [_example(example) for example in one.examples[:_SHOWN]],
        class_="failure",
    )


def _example(example: Example) -> Markup:
    who = f"{example.task} ({example.name})" if example.name else example.task
    where = [f"attempt {example.attempt}"] if example.attempt else []
    where += [f"node {example.node}"] if example.node else []
    where += [f"allocation {example.allocation}"] if example.allocation else []
    where += [moment(example.ended_at)] if example.ended_at else []
    tail = example.evidence.get("stderr_tail")
    measured = _measured(example)
    return el(
        "div",
        el("p", el("span", who, class_="mono"), f": {example.message}" if example.message else ""),
        el("p", ", ".join([*where, *measured]), class_="note") if where or measured else "",
        [el("p", "Last lines of its stderr:", class_="note"), el("pre", _tail(str(tail)))] if tail else [],
    )


def _tail(said: str) -> Markup:
    return Markup("\n".join(lines(said).split("\n")[-_TAIL_LINES:]))


def _measured(example: Example) -> list[str]:
    """What it was judged by, in words."""
    of = example.evidence
    found = []
    if _is_number(of.get("peak_memory_bytes")):
        limit = of.get("memory_limit_bytes")
        found.append(f"{size(of['peak_memory_bytes'])} of memory" + (f" of {size(limit)}" if _is_number(limit) else ""))
    if _is_number(of.get("wall_s")):
        limit = of.get("walltime_limit_s")
        found.append(duration(of["wall_s"]) + (f" of {duration(limit)}" if _is_number(limit) else ""))
    if of.get("scheduler_state"):
        found.append(f"the scheduler said {of['scheduler_state']}")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
