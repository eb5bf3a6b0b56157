"""The commands, each made when it is called: to make all of them takes as long as some commands do.

Nothing that is slow to import is imported here, for ``--help``; a command imports it when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from packhorse.cli.commands.options import commands

#: The module of each command, in the order of ``--help``.
_MODULES = {
    "run": "runs",
    "wait": "runs",
    "ps": "looking",
    "show": "looking",
    "why": "looking",
    "logs": "looking",
    "results": "looking",
    "cancel": "runs",
    "retry": "runs",
    "usage": "looking",
    "estimate": "estimating",
    "estimates": "estimating",
    "report": "looking",
    "doctor": "sites",
    "serve": "serving",
    "version": "serving",
    "apps": "sites",
    "images": "sites",
    "sites": "sites",
    "share": "own",
    "secret": "own",
    "token": "serving",
}

_EPILOG = (
    "Exit codes: 0 ok; 1 the run, or a task of it, failed; 2 wrong request; 3 not found; 4 conflict; 5 not allowed; "
    "6 a server, database or site does not answer; 70 a bug; 74 the output cannot be written; 130 interrupted; "
    "141 the reader of the output has gone, as with 'head'; 129, 143 ended by SIGHUP, SIGTERM."
)


class _Commands(Mapping[str, Any]):
    """Commands by name, made when they are asked for."""

    def __getitem__(self, name: str) -> Any:
        declared = import_module(f"packhorse.cli.commands.{_MODULES[name]}").app
        alone = commands()
        alone.registered_commands = [one for one in declared.registered_commands if one.callback.__name__ == name]
        alone.registered_groups = [one for one in declared.registered_groups if one.name == name]
        return typer.main.get_group(alone).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Group(typer.core.TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = _Commands()


app = typer.Typer(
    name="packhorse",
    cls=_Group,
    help="Run containerised science apps over tables of inputs, here or on a supercomputer.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # half of the start-up time
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from packhorse import __version__

        print(f"packhorse {__version__}")
        raise typer.Exit


@app.callback()
def _before_a_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What makes Typer take this for a group."""
