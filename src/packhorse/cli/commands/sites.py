"""Commands about where tasks run, and what can run there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from packhorse.cli.commands.options import AsJson, commands, whole

app = commands()
apps_command = commands("The apps that can be run.", invoke_without_command=True)
images_command = commands("The container images at sites.", invoke_without_command=True)
sites_command = commands("The sites where tasks can run.", invoke_without_command=True)
import_command = commands("Make apps of what others call apps.", no_args_is_help=True)
app.add_typer(apps_command, name="apps")
apps_command.add_typer(import_command, name="import")
app.add_typer(images_command, name="images")
app.add_typer(sites_command, name="sites")


@apps_command.callback()
def apps(context: typer.Context, as_json: AsJson = False) -> None:
    """List the apps that can be run by name."""
    if context.invoked_subcommand is None:
        from packhorse.cli.apps import list_apps

        list_apps(as_json=as_json)


@apps_command.command("list")
def apps_list(as_json: AsJson = False) -> None:
    """List the apps that can be run by name."""
    from packhorse.cli.apps import list_apps

    list_apps(as_json=as_json)


@apps_command.command("show")
def apps_show(
    name: Annotated[str, typer.Argument(metavar="APP", help="Its name, or the path of its app.yaml or folder.")],
    graph: Annotated[bool, typer.Option("--graph", help="Draw the steps of a pipeline.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show an app's parameters, and the steps of a pipeline."""
    from packhorse.cli.apps import show_app

    show_app(name, graph=graph, as_json=as_json)


@apps_command.command("check")
def apps_check(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An app.yaml, or its folder.")], as_json: AsJson = False
) -> None:
    """Check a manifest: every problem with file, line and field."""
    from packhorse.cli.apps import check_app

    check_app(path, as_json=as_json)


@import_command.command("kbase")
def apps_import_kbase(
    folder: Annotated[Path, typer.Argument(metavar="MODULE_DIR", help="A module of KBase's SDK: it has a kbase.yml.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where each app gets a folder.")] = Path("apps"),
    image: Annotated[str | None, typer.Option(help="The module's image; default: KBase's own of its commit.")] = None,
    commit: Annotated[
        str | None, typer.Option(help="The image's commit; default: the one that is checked out.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace manifests that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an app for each method of a KBase module, and one for its other functions."""
    from packhorse.cli.importing import import_kbase

    import_kbase(folder, to, image, commit, force=force, as_json=as_json)


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
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What the site is to be called.")] = None,
    profile: Annotated[str | None, typer.Option(help="What kind of site it is: slurm or perlmutter.")] = None,
    transport: Annotated[str | None, typer.Option(help="local or ssh.")] = None,
    host: Annotated[str | None, typer.Option(help="The login node, or its name in the SSH configuration.")] = None,
    port: Annotated[int | None, typer.Option(parser=whole, metavar="INTEGER", help="Its SSH port.")] = None,
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
    site: Annotated[str | None, typer.Argument(metavar="SITE", help="Examine this site, with a real job.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that everything a run needs is there, and say what to do about what is not."""
    from packhorse.cli.showing import run_doctor

    run_doctor(site, as_json=as_json)
