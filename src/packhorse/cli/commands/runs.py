"""Commands that start, wait for, cancel and retry runs."""

from __future__ import annotations

from typing import Annotated

import typer

from packhorse.cli.commands.options import AsJson, RunId, RunOrTask, commands, number, whole

app = commands()


@app.command()
def run(
    name_or_path: Annotated[
        str | None, typer.Argument(metavar="APP", help="An app's name, or the path of its app.yaml or folder.")
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(help="Table with one row per task: CSV, TSV, JSON lines or JSON, also .gz; - is stdin."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter, the same for all rows.")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Instead of an app: a YAML or JSON file of TES tasks with edges.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Instead of an app: a YAML or JSON file of steps, each an app, with edges.")
    ] = None,
    name: Annotated[str, typer.Option(help="A name for the run.")] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A tag.")] = None,
    cores: Annotated[
        float | None,
        typer.Option(parser=number, metavar="NUMBER", help="Cores for each task, instead of the app's own number."),
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(parser=number, metavar="NUMBER", help="Memory limit of each task in GB.")
    ] = None,
    walltime: Annotated[str | None, typer.Option(help="Time limit of each task: 90s, 10m, 2h, 1d.")] = None,
    nodes: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INTEGER", help="Nodes for each task, for an app that spans several."),
    ] = None,
    site: Annotated[str | None, typer.Option(help="Where to run: see 'packhorse sites'.")] = None,
    queue: Annotated[str | None, typer.Option(help="A queue (partition) of the site.")] = None,
    session: Annotated[str | None, typer.Option(help="none, worker or shell, instead of the app's own.")] = None,
    image: Annotated[
        str | None, typer.Option(help="A container image instead of the app's own; none: this host's own programs.")
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(help="A URL to deliver output files below: s3://bucket/prefix, file:///folder.")
    ] = None,
    priority: Annotated[
        int,
        typer.Option(parser=whole, metavar="INTEGER", help="Among your runs: tasks of a higher one start first."),
    ] = 0,
    reuse: Annotated[
        bool | None,
        typer.Option(
            "--reuse/--no-reuse",
            help="Take results of your earlier tasks where nothing has changed, or none; else as its site says.",
        ),
    ] = None,
    estimates: Annotated[
        str | None,
        typer.Option(
            metavar="on|observe|off", help="Grant memory and walltime by what such tasks used before, or not."
        ),
    ] = None,
    hard: Annotated[
        bool, typer.Option("--hard", help="Memory and walltime as asked for are limits that no retry exceeds.")
    ] = False,
    no_gather: Annotated[bool, typer.Option("--no-gather", help="Leave the gathering task out.")] = False,
    key: Annotated[str | None, typer.Option(help="Client key: the same key returns the same run.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when the run is accepted; 'packhorse wait' goes on with it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run an app over a table of inputs, or several steps, and wait for it."""
    from packhorse.cli.requests import RunArguments
    from packhorse.cli.running import run_app

    arguments = RunArguments(
        name_or_path,
        over,
        set_ or [],
        tasks,
        steps,
        name,
        tag or [],
        cores,
        memory_gb,
        walltime,
        session,
        not no_gather,
        key,
        site,
        queue,
        nodes,
        image,
        outputs,
        priority,
        reuse,
        estimates,
        hard,
    )
    run_app(arguments, detach=detach, as_json=as_json)


@app.command()
def wait(run_id: RunId, as_json: AsJson = False) -> None:
    """Wait for a run that was started before, and go on with it if nobody does."""
    from packhorse.cli.running import wait_for

    wait_for(run_id, as_json=as_json)


@app.command()
def cancel(target: RunOrTask, as_json: AsJson = False) -> None:
    """Cancel a run or a task, and wait until that is done."""
    from packhorse.cli.running import cancel as cancel_target

    cancel_target(target, as_json=as_json)


@app.command()
def retry(
    run_id: RunId,
    key: Annotated[str | None, typer.Option(help="Client key: the same key returns the same run.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the run is accepted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run again what failed or was canceled, as a new run."""
    from packhorse.cli.running import retry as retry_run

    retry_run(run_id, key, detach=detach, as_json=as_json)
