"""The command line.

This module is all that ``--help`` imports; what is slow to import is imported by the command that needs it.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from packhorse import __version__
from packhorse.cli.streams import signals_end_it, standard_streams

_EPILOG = (
    "Exit codes: 0 ok; 1 the run, or a task of it, failed; 2 wrong request; 3 not found; 4 conflict; 5 not allowed; "
    "6 a server, database or site does not answer; 70 a bug; 74 the output cannot be written; 130 interrupted; "
    "141 the reader of the output has gone, as with 'head'; 129, 143 ended by SIGHUP, SIGTERM."
)

app = typer.Typer(
    name="packhorse",
    help="Run containerised science apps over tables of inputs, here or on a supercomputer.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # half of the start-up time
    pretty_exceptions_enable=False,
)
apps_command = typer.Typer(help="The apps that can be run.", invoke_without_command=True)
images_command = typer.Typer(help="The container images at sites.", invoke_without_command=True)
sites_command = typer.Typer(help="The sites where tasks can run.", invoke_without_command=True)
token_command = typer.Typer(help="Who may use a server.", no_args_is_help=True)
app.add_typer(apps_command, name="apps")
app.add_typer(images_command, name="images")
app.add_typer(sites_command, name="sites")
app.add_typer(token_command, name="token")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run, such as r-0123456789abcdef.")]
RunOrTask = Annotated[str, typer.Argument(metavar="RUN|TASK", help="A run (r-…) or a task (r-….17).")]


def _number(text: str) -> float:
    from packhorse.domain.numbers import number

    try:
        return number(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _whole(text: str) -> int:
    from packhorse.domain.numbers import whole_number

    try:
        return whole_number(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _count(text: str) -> int:
    if (value := _whole(text)) < 1:
        raise typer.BadParameter(f"expected at least 1, found {value}.")
    return value


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
    name: Annotated[str, typer.Option(help="A name for the run.")] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A tag.")] = None,
    cores: Annotated[
        float | None,
        typer.Option(parser=_number, metavar="NUMBER", help="Cores for each task, instead of the app's own number."),
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(parser=_number, metavar="NUMBER", help="Memory limit of each task in GB.")
    ] = None,
    walltime: Annotated[str | None, typer.Option(help="Time limit of each task: 90s, 10m, 2h, 1d.")] = None,
    nodes: Annotated[
        int | None,
        typer.Option(parser=_whole, metavar="INTEGER", help="Nodes for each task, for an app that spans several."),
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
        typer.Option(parser=_whole, metavar="INTEGER", help="Among your runs: tasks of a higher one start first."),
    ] = 0,
    no_gather: Annotated[bool, typer.Option("--no-gather", help="Leave the gathering task out.")] = False,
    key: Annotated[str | None, typer.Option(help="Client key: the same key returns the same run.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when the run is accepted; 'packhorse wait' goes on with it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run an app over a table of inputs, and wait for it."""
    from packhorse.cli.running import RunArguments, run_app

    arguments = RunArguments(
        name_or_path,
        over,
        set_ or [],
        tasks,
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
    )
    run_app(arguments, detach=detach, as_json=as_json)


@app.command()
def wait(run_id: RunId, as_json: AsJson = False) -> None:
    """Wait for a run that was started before, and go on with it if nobody does."""
    from packhorse.cli.running import wait_for

    wait_for(run_id, as_json=as_json)


@app.command()
def ps(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Show the tasks of this run.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only tasks in this state.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only tasks that failed.")] = False,
    limit: Annotated[int, typer.Option(parser=_count, metavar="INTEGER", help="At most this many.")] = 20,
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
    """Say in one sentence what a task waits for, or why it ended as it did."""
    from packhorse.cli.showing import explain

    explain(task, as_json=as_json)


@app.command()
def logs(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task, such as r-0123456789abcdef.17.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the task ends.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Its stderr instead of its stdout.")] = False,
    attempt: Annotated[int | None, typer.Option(parser=_count, metavar="INTEGER", help="An earlier attempt.")] = None,
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


@app.command()
def usage(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="One run; without it, all that you may see.")
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


@apps_command.callback()
def apps(context: typer.Context, as_json: AsJson = False) -> None:
    """List the apps that can be run by name."""
    if context.invoked_subcommand is None:
        from packhorse.cli.showing import list_apps

        list_apps(as_json=as_json)


@apps_command.command("list")
def apps_list(as_json: AsJson = False) -> None:
    """List the apps that can be run by name."""
    from packhorse.cli.showing import list_apps

    list_apps(as_json=as_json)


@apps_command.command("show")
def apps_show(name: Annotated[str, typer.Argument(metavar="APP", help="Its name.")], as_json: AsJson = False) -> None:
    """Show an app's parameters, resources and outputs."""
    from packhorse.cli.showing import show_app

    show_app(name, as_json=as_json)


@apps_command.command("check")
def apps_check(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An app.yaml, or its folder.")], as_json: AsJson = False
) -> None:
    """Check a manifest: every problem with file, line and field."""
    from packhorse.cli.showing import check_app

    check_app(path, as_json=as_json)


@sites_command.callback()
def sites(context: typer.Context, as_json: AsJson = False) -> None:
    """List the sites where tasks can run, with their queues and limits."""
    if context.invoked_subcommand is None:
        from packhorse.cli.showing import list_sites

        list_sites(as_json=as_json)


@sites_command.command("list")
def sites_list(as_json: AsJson = False) -> None:
    """List the sites where tasks can run, with their queues and limits."""
    from packhorse.cli.showing import list_sites

    list_sites(as_json=as_json)


@sites_command.command("add")
def sites_add(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="What the site is to be called.")] = None,
    profile: Annotated[str | None, typer.Option(help="What kind of site it is: slurm or perlmutter.")] = None,
    transport: Annotated[str | None, typer.Option(help="local or ssh.")] = None,
    host: Annotated[str | None, typer.Option(help="The login node, or its name in the SSH configuration.")] = None,
    port: Annotated[int | None, typer.Option(parser=_whole, metavar="INTEGER", help="Its SSH port.")] = None,
    user: Annotated[str | None, typer.Option(help="The user there.")] = None,
    key_file: Annotated[
        str | None, typer.Option(help="The private key; '' takes those of the SSH configuration.")
    ] = None,
    known_hosts: Annotated[str | None, typer.Option(help="The file of host keys to trust.")] = None,
    ssh_config: Annotated[str | None, typer.Option(help="The SSH configuration file.")] = None,
    root: Annotated[
        str | None, typer.Option(help="A folder there that all nodes share; '$SCRATCH/packhorse' is fine.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="The queue (partition) to use.")] = None,
    account: Annotated[str | None, typer.Option(help="The account to charge.")] = None,
    qos: Annotated[str | None, typer.Option(help="The quality of service.")] = None,
    constraint: Annotated[str | None, typer.Option(help="Node features, such as cpu.")] = None,
    python: Annotated[str | None, typer.Option(help="The path of Python 3.6 or newer there.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing, take what is suggested, and write it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Connect a site: asks what it has to know, looks what is there, checks it, and writes it to the configuration
    file.
    """
    from packhorse.cli.adding import Given, add

    settings = {
        "transport": transport,
        "host": host,
        "port": port,
        "user": user,
        "key_file": key_file,
        "known_hosts": known_hosts,
        "ssh_config": ssh_config,
        "root": root,
        "queue": queue,
        "account": account,
        "qos": qos,
        "constraint": constraint,
        "python": python,
    }
    add(Given(name, profile, settings, yes), as_json=as_json)


@images_command.callback()
def images(context: typer.Context, as_json: AsJson = False) -> None:
    """The container images at sites, and those on their way there: progress, size, and why one failed."""
    if context.invoked_subcommand is None:
        from packhorse.cli.imaging import list_images

        list_images(as_json=as_json)


@images_command.command("check")
def images_check(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Its name, such as quay.io/lab/tool:1.2.")],
    architecture: Annotated[str, typer.Option(help="The processors of the nodes, as OCI calls them.")] = "amd64",
    as_json: AsJson = False,
) -> None:
    """Look into an image for what will bite on a supercomputer. Exit code 1 when there is a problem."""
    from packhorse.cli.imaging import check_image

    check_image(image, architecture, as_json=as_json)


@app.command()
def doctor(
    site: Annotated[str | None, typer.Argument(metavar="[SITE]", help="Examine this site, with a real job.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that everything a run needs is there, and say what to do about what is not."""
    from packhorse.cli.showing import run_doctor

    run_doctor(site, as_json=as_json)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: that of [server], 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(parser=_whole, metavar="INTEGER", help="Port to listen on; default: that of [server], 8765."),
    ] = None,
    database: Annotated[str | None, typer.Option(help="Database URL; default: SQLite in the home folder.")] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log as JSON lines.")] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen on an address that others can reach.")
    ] = False,
) -> None:
    """Serve the REST API, with an engine, until SIGTERM."""
    from packhorse.cli.serving import serve as serve_api

    serve_api(host, port, database, json_logs=json_logs, allow_remote=allow_remote)


@token_command.command("add")
def token_add(
    user: Annotated[str, typer.Argument(help="Whose token it is.")],
    admin: Annotated[bool, typer.Option("--admin", help="May see and cancel everybody's runs.")] = False,
    database: Annotated[str | None, typer.Option(help="Database URL; default: SQLite in the home folder.")] = None,
) -> None:
    """Make a token for a user, and print it once."""
    from packhorse.cli.serving import add_token

    add_token(user, database, admin=admin)


@token_command.command("revoke")
def token_revoke(
    user: Annotated[str, typer.Argument(help="Whose tokens to forget.")],
    database: Annotated[str | None, typer.Option(help="Database URL; default: SQLite in the home folder.")] = None,
) -> None:
    """Forget all tokens of a user."""
    from packhorse.cli.serving import revoke_tokens

    revoke_tokens(user, database)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    print(f'{{"version": "{__version__}"}}' if as_json else f"packhorse {__version__}")


def main() -> None:
    """Runs the command line; a refusal is a sentence on stderr and an exit code, never a traceback."""
    with standard_streams(), signals_end_it():
        sys.exit(_run())


def _run() -> int:
    """The exit code. What was printed has been written then, not only put into a buffer."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from packhorse.cli.output import report

        return report(error, as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
