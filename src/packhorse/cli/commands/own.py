"""Commands about what is one's own: secrets, and who else sees one's runs."""

from __future__ import annotations

from typing import Annotated

import typer

from packhorse.cli.commands.options import AsJson, RunId, commands

app = commands()
secret_command = commands("What one's tasks are given, and nobody is shown.", no_args_is_help=True)
app.add_typer(secret_command, name="secret")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and '_'.")]


@app.command()
def share(
    run_id: RunId,
    who: Annotated[
        str | None, typer.Argument(metavar="WHO", help="user:NAME or group:NAME; default: list them.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Share it no longer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let another user, or a group, see a run; or list who sees it."""
    from packhorse.cli.own import share_run

    share_run(run_id, who, undo=undo, as_json=as_json)


@secret_command.command("set")
def secret_set(name: Name) -> None:
    """Keep a secret, encrypted. Its value comes on stdin; a line end behind it is left out."""
    from packhorse.cli.own import set_secret

    set_secret(name)


@secret_command.command("list")
def secret_list(as_json: AsJson = False) -> None:
    """List secrets by name. Their values are shown to nobody."""
    from packhorse.cli.own import list_secrets

    list_secrets(as_json=as_json)


@secret_command.command("remove")
def secret_remove(name: Name) -> None:
    """Forget a secret."""
    from packhorse.cli.own import remove_secret

    remove_secret(name)
