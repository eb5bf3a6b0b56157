"""What commands share: options, arguments, and how numbers are read."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run, such as r-0123456789abcdef.")]
RunOrTask = Annotated[str, typer.Argument(metavar="RUN|TASK", help="A run (r-…) or a task (r-….17).")]


def commands(what: str = "", *, invoke_without_command: bool = False, no_args_is_help: bool = False) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(
        help=what,
        invoke_without_command=invoke_without_command,
        no_args_is_help=no_args_is_help,
        add_completion=False,
        rich_markup_mode=None,  # half of the start-up time
    )


def number(text: str) -> float:
    """A number, such as ``0.5``."""
    from packhorse.domain.numbers import number as read

    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def whole(text: str) -> int:
    """A whole number."""
    from packhorse.domain.numbers import whole_number

    try:
        return whole_number(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def port(text: str) -> int:
    """The number of a TCP port; 0 lets the system choose."""
    if not 0 <= (value := whole(text)) <= 65535:
        raise typer.BadParameter(f"expected a port, 0 to 65535, found {value}.")
    return value


def count(text: str) -> int:
    """A whole number of at least 1."""
    if (value := whole(text)) < 1:
        raise typer.BadParameter(f"expected at least 1, found {value}.")
    return value
