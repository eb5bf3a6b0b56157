"""Commands that show what runs and tasks do, left and used."""

from __future__ import annotations

from typing import Annotated

import typer

from packhorse.cli.commands.options import AsJson, RunId, RunOrTask, commands, count

app = commands()


@app.command()
def ps(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="Show the tasks of this run.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only tasks in this state.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only tasks that failed.")] = False,
    limit: Annotated[int, typer.Option(parser=count, metavar="INTEGER", help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, or the tasks of one run."""
    from packhorse.cli.showing import list_runs, list_tasks

    if run_id is None:
        list_runs(limit, as_json=as_json)
    else:
        list_tasks(run_id, state or [], failed=failed, limit=limit, as_json=as_json)


@app.command()
def show(target: RunOrTask, as_json: AsJson = False) -> None:
    """Show a run, or all that is known of a task: why it waits, why it failed, what it used."""
    from packhorse.cli.showing import show as show_target

    show_target(target, as_json=as_json)


@app.command()
def why(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task, such as r-0123456789abcdef.17.")],
    as_json: AsJson = False,
) -> None:
    """Say what a task waits for, or why it ended as it did; then why it was placed, retried, and reused or not."""
    from packhorse.cli.showing import explain

    explain(task, as_json=as_json)


@app.command()
def logs(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task, such as r-0123456789abcdef.17.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the task ends.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Its stderr instead of its stdout.")] = False,
    attempt: Annotated[int | None, typer.Option(parser=count, metavar="INTEGER", help="An earlier attempt.")] = None,
) -> None:
    """Print what a task wrote, byte for byte, also while it runs."""
    from packhorse.cli.showing import print_log

    print_log(task, "stderr" if stderr else "stdout", follow=follow, attempt=attempt)


@app.command()
def results(
    run_id: RunId,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Write to this file (.csv or .jsonl) instead of stdout.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Flat CSV: parameters and result side by side.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, one task each.")] = False,
) -> None:
    """Print the results of a run, one task a line."""
    from packhorse.cli.showing import print_results

    print_results(run_id, output, as_csv=as_csv, as_json=as_json)


@app.command()
def usage(
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN", help="One run; without it, all that you may see.")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="site|user|app", help="Only by this; may be repeated.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only allocations that ended in the last 12h, 7d.")] = None,
    as_json: AsJson = False,
) -> None:
    """What runs used, and what allocations paid: by site, user and app, with what was idle."""
    from packhorse.cli.accounts import show_account, show_usage

    if run_id is None:
        show_account(by or [], since, as_json=as_json)
    else:
        show_usage(run_id, by or [], since, as_json=as_json)


@app.command()
def report(
    run_id: RunId,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the page here instead of to RUN.html.")
    ] = None,
    crate: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Write an RO-Crate (Workflow Run Crate) here, with the page in it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run as one HTML page: steps, timeline, resources, failures, versions, and how to run it again."""
    from packhorse.cli.reporting import write_report

    write_report(run_id, output, crate, as_json=as_json)
