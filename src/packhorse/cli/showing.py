"""Commands that show runs, tasks, logs, results and apps."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import typer

from packhorse.cli.files import replacing
from packhorse.cli.output import duration, moment, note, print_facts, print_json, print_lines, print_table, say, size
from packhorse.cli.streams import end_if_nobody_reads
from packhorse.client import Client
from packhorse.client.handle import flat_result, follow_log
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.plain import plain_lines
from packhorse.domain.states import FAILED, TaskState
from packhorse.domain.text import dumps
from packhorse.domain.views import AttemptView, RunView, TaskDetail, TaskView
from packhorse.terminal import is_terminal


def list_runs(limit: int, *, as_json: bool) -> None:
    """``packhorse ps``."""
    with Client() as client:
        runs = [run for _, run in zip(range(limit), client.runs(), strict=False)]
    if as_json:
        print_json(runs)
        return
    columns = ["run", "name", "app", "user", "tasks", "done", "failed", "created", "ended"]
    print_table(columns, [_run_row(run) for run in runs])


def _run_row(run: RunView) -> tuple[object, ...]:
    return (
        run.id,
        run.name,
        run.app,
        run.user,
        run.tasks,
        run.done,
        run.failed or "",
        moment(run.created_at),
        moment(run.ended_at),
    )


def list_tasks(run_id: str, states: list[str], *, failed: bool, limit: int, as_json: bool) -> None:
    """``packhorse ps RUN``."""
    chosen = sorted(FAILED) if failed else [_state(text) for text in states] or None
    with Client() as client:
        tasks = [task for _, task in zip(range(limit), client.get(run_id).tasks(chosen), strict=False)]
    if as_json:
        print_json(tasks)
        return
    columns, rows = ["task", "state", "attempt", "exit", "parameters", "reason"], [_task_row(task) for task in tasks]
    if len({task.step for task in tasks}) > 1:
        columns.insert(1, "step")
        rows = [(row[0], task.step, *row[1:]) for row, task in zip(rows, tasks, strict=True)]
    print_table(columns, rows)


def _task_row(task: TaskView) -> tuple[object, ...]:
    given = task.name or " ".join(
        f"{name}={value}" for name, value in (task.params or {}).items() if value not in (None, "")
    )
    return (task.id, task.state, task.attempt or "", task.exit_code, given[:80], task.reason)


def _state(text: str) -> TaskState:
    try:
        return TaskState(text.upper())
    except ValueError:
        raise InvalidRequest(f"'{text}' is not a state.", hint=f"States: {', '.join(TaskState)}.") from None


def show(target: str, *, as_json: bool) -> None:
    """``packhorse show``."""
    with Client() as client:
        if "." in target:
            detail = client.backend.task(target)
            print_json(detail) if as_json else _show_task(detail)
            return
        handle = client.get(target)
        if as_json:
            print_json({"run": handle.view, "usage": handle.usage()})
            return
        from packhorse.cli.running import summarise

        view = handle.view
        print_facts(
            [
                ("name", view.name),
                ("app", view.app),
                ("created", moment(view.created_at)),
                ("ended", moment(view.ended_at)),
            ]
        )
        summarise(handle)


def explain(task_id: str, *, as_json: bool) -> None:
    """``packhorse why``."""
    from packhorse.cli.estimating import sentences

    with Client() as client:
        task = client.backend.task(task_id)
        estimates = client.backend.task_estimates(task_id)
    reason = task.reason or _USUAL_REASONS.get(task.state, "")
    history = [event for event in task.events if event.why and event.why != task.reason]
    if as_json:
        about = {"reuse": task.reuse, "from_history": task.from_history, "estimates": estimates, "history": history}
        print_json({"task": task.id, "state": task.state, "reason": reason, **about})
        return
    say(f"{task.state}: {reason}")
    if task.reuse is not None and task.reuse.why != task.reason:
        say(task.reuse.why)
    for name, why in task.from_history.items():
        say(f"{name} is {(task.params or {}).get(name) or 'not given'}: {why}.")
    for event in history:
        say(f"{moment(event.at)} {event.to_state}: {event.why}")
    for estimate in estimates:
        for sentence in sentences(estimate):
            say(sentence)


_USUAL_REASONS = {
    TaskState.INITIALIZING: "It is in a block of an allocation, and starts when an agent has a slot for it.",
    TaskState.RUNNING: "It runs.",
    TaskState.CANCELING: "A cancel is on its way to where it runs.",
    TaskState.COMPLETE: "It ended well.",
}


def _show_task(task: TaskDetail) -> None:
    print_facts(
        [
            ("task", task.id),
            ("name", task.name),
            ("state", task.state),
            ("because", task.reason),
            ("parameters", _readable(task.params) if task.params else None),
            ("result", _readable(task.result) if task.result is not None else None),
            ("outputs", ", ".join(file["path"] for file in task.reuse.files) if task.reuse else None),
            ("command", _readable(task.document["executors"][0]["command"])),
        ]
    )
    for attempt in task.attempts:
        _show_attempt(attempt)
    say()
    print_table(
        ["at", "attempt", "state", "why"],
        [(moment(event.at), event.attempt, event.to_state, event.why) for event in task.events],
    )


def _readable(value: Any) -> str:
    """JSON with the letters of all scripts as they are."""
    return json.dumps(value, ensure_ascii=False)


def _show_attempt(attempt: AttemptView) -> None:
    say()
    granted = f"{attempt.cores or 0:g} cores" + (f", {attempt.memory_mb / 1000:g} GB" if attempt.memory_mb else "")
    how = attempt.failure or "succeeded"
    facts: list[tuple[str, object]] = [
        (f"attempt {attempt.attempt}", how),
        ("where", f"{attempt.site}, allocation {attempt.allocation}, node {attempt.node}"),
        ("granted", granted + (f", {duration(attempt.walltime_s)}" if attempt.walltime_s else "")),
        ("used", f"{duration(attempt.wall_s)}, {duration(attempt.cpu_s)} CPU, {size(attempt.peak_memory)} memory"),
        ("read, written", f"{size(attempt.read_bytes)}, {size(attempt.write_bytes)}"),
        ("exit code", attempt.exit_code),
        ("outputs", ", ".join(file["path"] for file in attempt.files)),
    ]
    print_facts(facts)
    tail = (attempt.evidence or {}).get("stderr_tail")
    if tail:
        say("last lines of stderr:")
        print_lines(tail, indent="  ", style="dim")


def print_log(task: str, stream: str, *, follow: bool, attempt: int | None) -> None:
    """``packhorse logs``: bytes as they are."""
    if is_terminal(sys.stdout):
        note("The log is printed as it is, also what a terminal obeys; '| cat -v' shows that instead.", style="dim")
    with Client() as client, client.backend.working():
        for piece in follow_log(client.backend, task, stream, follow=follow, attempt=attempt):
            end_if_nobody_reads(sys.stdout)
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


def print_results(run_id: str, output: str | None, *, as_csv: bool, as_json: bool) -> None:
    """``packhorse results``."""
    if as_csv and as_json:
        raise InvalidRequest("Choose one of --csv and --json.")
    wants_csv = as_csv or (not as_json and output is not None and output.endswith(".csv"))
    with Client() as client:
        read_rows = client.get(run_id).iter_results
        if output is None:
            _write_rows(_stdout_of_data() if wants_csv else sys.stdout, read_rows, as_csv=wants_csv)
            return
        with replacing(Path(output)) as raw, io.TextIOWrapper(raw, "utf-8", "backslashreplace", newline="") as file:
            number = _write_rows(file, read_rows, as_csv=wants_csv)
        say(f"{number} results in {output}")


class _Written(Protocol):
    def write(self, text: str, /) -> Any: ...


class _Eyes:
    """Stdout that is a terminal."""

    def write(self, text: str) -> None:
        for line in plain_lines(text):
            say(line)


def _stdout_of_data() -> _Written:
    """Stdout for what programs read: UTF-8 in every locale, as a file is; but on a terminal it is for a person."""
    if is_terminal(sys.stdout):
        return _Eyes()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


def _write_rows(file: _Written, read_rows: Callable[[], Iterator[dict[str, Any]]], *, as_csv: bool) -> int:
    """Writes results in constant memory. A CSV reads them twice: a column may come up in the last row only."""
    number = 0
    if not as_csv:
        for row in read_rows():
            file.write(dumps(row) + "\n")
            number += 1
        return number
    from packhorse.api.results import as_cells

    columns = list(dict.fromkeys(name for row in read_rows() for name in flat_result(row)))
    writer = csv.DictWriter(file, columns, extrasaction="ignore")  # a run that goes on may bring new ones meanwhile
    writer.writeheader()
    for row in read_rows():
        writer.writerow(as_cells(flat_result(row)))
        number += 1
    return number


def list_sites(*, as_json: bool) -> None:
    """``packhorse sites``."""
    with Client() as client:
        sites = client.backend.sites()
    if as_json:
        print_json(sites)
        return
    rows: list[tuple[Any, ...]] = []
    for site in sites:
        live = ", ".join(f"{number} {state.lower()}" for state, number in site.allocations.items()) or "none"
        rows += [
            (site.name, queue.name or "", queue.nodes, queue.cores, f"{queue.memory_gb:g} GB", queue.gpus or "",
             duration(queue.walltime_s) if queue.walltime_s else "no limit", live)
            for queue in site.queues
        ]  # fmt: skip
        if site.problem:
            rows.append((site.name, "", "", "", "", "", "", site.problem))
    print_table(["site", "queue", "nodes", "cores", "memory", "GPUs", "walltime", "allocations"], rows)


def run_doctor(site: str | None, *, as_json: bool) -> None:
    """``packhorse doctor``: exit code 1 when something is not right."""
    with Client() as client:
        checks = client.backend.doctor(site)
    if as_json:
        print_json(checks)
    else:
        print_table(
            ["", "check", "found", "what to do"],
            [("ok" if c.ok else "NO", c.name, c.detail, "" if c.ok else c.hint) for c in checks],
        )
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
