"""Commands for those who operate a server."""

from __future__ import annotations

from typing import Annotated

import typer

from packhorse import __version__
from packhorse.cli.commands.options import AsJson, commands
from packhorse.cli.commands.options import port as port_number

app = commands()
token_command = commands("Who may use a server.", no_args_is_help=True)
app.add_typer(token_command, name="token")

Database = Annotated[str | None, typer.Option(help="Database URL; default: SQLite in the home folder.")]


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: that of [server], 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(parser=port_number, metavar="INTEGER", help="Port to listen on; default: that of [server], 8765."),
    ] = None,
    database: Database = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log as JSON lines.")] = False,
) -> None:
    """Serve the REST API, with an engine, until SIGTERM."""
    from packhorse.cli.serving import serve as serve_api

    serve_api(host, port, database, json_logs=json_logs)


@token_command.command("add")
def token_add(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose token it is.")],
    admin: Annotated[bool, typer.Option("--admin", help="May see and change everybody's runs.")] = False,
    read_only_admin: Annotated[
        bool, typer.Option("--read-only-admin", help="May see everybody's runs, and change nothing.")
    ] = False,
    name: Annotated[str, typer.Option(help="What it is for; 'token list' shows it.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="What it opens: read, submit or admin; may be repeated. Default: all.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="After that it opens nothing: 12h, 90d. Default: never.")] = None,
    database: Database = None,
) -> None:
    """Make a token for a user, and print it once."""
    from packhorse.cli.tokens import add_token

    add_token(
        user, database, admin=admin, read_only_admin=read_only_admin, name=name, scopes=scope or [], expires=expires
    )


@token_command.command("list")
def token_list(
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Whose; default: everybody's.")] = None,
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """List tokens: whose, what they open, and until when; never what opens anything."""
    from packhorse.cli.tokens import list_tokens

    list_tokens(user, database, as_json=as_json)


@token_command.command("revoke")
def token_revoke(
    which: Annotated[str, typer.Argument(metavar="USER|TOKEN", help="A token (t-…), or a user: all of theirs.")],
    database: Database = None,
) -> None:
    """Forget a token, or all tokens of a user."""
    from packhorse.cli.tokens import revoke_tokens

    revoke_tokens(which, database)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    print(f'{{"version": "{__version__}"}}' if as_json else f"packhorse {__version__}")
