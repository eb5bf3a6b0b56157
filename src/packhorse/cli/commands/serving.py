"""Commands for those who operate a server."""

from __future__ import annotations

from typing import Annotated

import typer

from packhorse import __version__
from packhorse.cli.commands.options import AsJson, commands, whole

app = commands()
token_command = commands("Who may use a server.", no_args_is_help=True)
app.add_typer(token_command, name="token")


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: that of [server], 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INTEGER", help="Port to listen on; default: that of [server], 8765."),
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
