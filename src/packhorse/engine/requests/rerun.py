"""The commands that run a run again, and the files that they read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from packhorse.domain.plain import plain
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.document import DocumentStep
from packhorse.engine.steps.kbase import KBaseStep
from packhorse.report.facts import Again

#: What a run lays over its apps' resources, as the command line says it.
_OPTIONS = {
    "cpu_cores": "--cores",
    "ram_gb": "--memory-gb",
    "walltime_s": "--walltime",
    "nodes": "--nodes",
    "site": "--site",
    "queue": "--queue",
}
RUN_FILE = "run.json"
_ON_A_SERVER = "A server runs apps by their names: say the name instead of the folder there."


def again(run: Any, steps: Sequence[Step | None], folder: str | None = None) -> Again:
    """How to run it again. ``folder`` is the crate of the run; None: one that the first command makes."""
    if run.retry_of:
        note = f"It ran again what had failed in {run.retry_of}, and read what had completed there."
        return Again([f"packhorse retry {run.retry_of}"], note)
    known = [step for step in steps if step is not None]
    if len(known) < len(steps):
        return Again([], "A step of it is of a newer version of Packhorse; that can say how to run it again.")
    if isinstance(known[0], KBaseStep):
        return Again([], f"{RUN_FILE} has what its jobs were asked for with; run_job_batch of /services/ee2 takes it.")
    made = [f"packhorse report {run.id} --crate {run.id}"] if folder is None else []
    at = run.id if folder is None else folder
    return Again([*made, shlex.join(["packhorse", "run", *_what(run, known, at)])], _note(known))


def _note(steps: Sequence[Step]) -> str:
    if isinstance(steps[0], DocumentStep):
        return "The folder has its tasks."
    retry = ", ".join(f"{name}: {number}" for name, number in steps[0].spec.retry.items())
    more = (
        f" Its own policy of retries ({retry}) is in {RUN_FILE}, which the API takes."
        if retry and is_app_run(steps)
        else ""
    )
    return f"The folder has its apps as they were, its tables and its steps. {_ON_A_SERVER}{more}"


def _what(run: Any, steps: Sequence[Step], folder: str) -> list[str]:
    if isinstance(steps[0], DocumentStep):
        return ["--tasks", f"{folder}/{RUN_FILE}", *_flags(run, steps[0])]
    if not is_app_run(steps):
        return ["--steps", f"{folder}/{RUN_FILE}"]
    first = steps[0]
    assert isinstance(first, AppStep)
    words = [f"{folder}/{app_folders(steps)[first.spec.app]}", "--over", f"{folder}/{table_name(first)}"]
    for name, value in first.spec.params.items():
        words += ["--set", f"{name}={_as_text(value)}"] if value is not None else []
    has_gathering = first.app.gather is not None and len(steps) == 1
    return [*words, *_flags(run, first), *(["--no-gather"] if has_gathering else [])]


def is_app_run(steps: Sequence[Step]) -> bool:
    """Whether it was one app over a table, with or without its gathering task."""
    kinds = [step.spec.kind for step in steps]
    return kinds[0] == "app" and kinds[1:] in ([], ["gather"]) and not steps[0].spec.takes


def app_folders(steps: Sequence[Step]) -> dict[str, str]:
    """The folders in a crate that have the apps of steps, by digest; those of one name have part of it after theirs."""
    found: dict[str, str] = {}
    for step in steps:
        if step.app is not None and step.spec.app not in found:
            name = f"apps/{step.app.name}"
            found[step.spec.app] = f"{name}-{step.spec.app[:8]}" if name in found.values() else name
    return found


def table_name(step: Step) -> str:
    """The file in a crate that has the values of a step's tasks, one task a line."""
    return f"tables/{step.row.name}.jsonl"


def _flags(run: Any, step: Step) -> list[str]:
    """What was said of the run, whatever it runs."""
    words: list[str] = []
    for name, option in _OPTIONS.items():
        if (value := step.spec.resources.get(name)) is not None:
            words += [option, f"{value}s" if name == "walltime_s" else f"{value}"]
    spec = step.spec
    said = (("--name", run.name), ("--session", spec.session), ("--image", spec.image), ("--outputs", spec.outputs))
    for option, value in said:
        words += [option, value] if value else []
    for name, value in spec.tags.items():
        words += ["--tag", f"{name}={value}"]
    return [*words, "--priority", str(run.priority)] if run.priority else words


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value)
