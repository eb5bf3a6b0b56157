"""Commands about what tasks need: what is expected of a run, and the history that it comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from packhorse.cli.commands.options import AsJson, commands, number

app = commands()
estimates_command = commands("The history that estimates come from.", no_args_is_help=True)
app.add_typer(estimates_command, name="estimates")


@app.command()
def estimate(
    name_or_path: Annotated[
        str, typer.Argument(metavar="APP", help="An app's name, or the path of its app.yaml or folder.")
    ],
    over: Annotated[
        str | None,
        typer.Option(help="Table with one row per task: CSV, TSV, JSON lines or JSON, also .gz; - is stdin."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter, the same for all rows.")
    ] = None,
    cores: Annotated[
        float | None,
        typer.Option(parser=number, metavar="NUMBER", help="Cores for each task, instead of the app's own number."),
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(parser=number, metavar="NUMBER", help="Memory limit of each task in GB.")
    ] = None,
    walltime: Annotated[str | None, typer.Option(help="Time limit of each task: 90s, 10m, 2h, 1d.")] = None,
    site: Annotated[str | None, typer.Option(help="Where to run: see 'packhorse sites'.")] = None,
    queue: Annotated[str | None, typer.Option(help="A queue (partition) of the site.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run is expected to need, from what such tasks used before. Nothing is submitted."""
    from packhorse.cli.estimating import show_expectation
    from packhorse.cli.requests import RunArguments

    arguments = RunArguments(
        name_or_path, over, set_ or [], None, None, "", [], cores, memory_gb, walltime, None, True, None, site, queue
    )
    show_expectation(arguments, as_json=as_json)


@estimates_command.command("export")
def estimates_export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write: .parquet, .csv or .jsonl.")],
    as_json: AsJson = False,
) -> None:
    """Write what attempts used to a file: all users', without names and texts."""
    from packhorse.cli.estimating import export_history

    export_history(file, as_json=as_json)


@estimates_command.command("import")
def estimates_import(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to read; - is stdin.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="packhorse|sacct|nextflow", help="What it holds; by default what its first line says."
        ),
    ] = None,
    app_name: Annotated[
        str | None, typer.Option("--app", help="Take all of it for attempts at tasks of this app.")
    ] = None,
    site: Annotated[str, typer.Option(help="Where they ran.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take in what attempts used elsewhere: another export, Slurm's accounting, or a trace of Nextflow."""
    from packhorse.cli.estimating import import_history

    import_history(file, form, app_name, site, as_json=as_json)
