"""Commands, arguments and options, from Typer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from packhorse.cli.commands import app
from tools.reference.markdown import one_line, page, prose, table

_NAME = "packhorse"


def commands_page() -> str:
    """A section for each command, in the order of ``packhorse --help``."""
    root: Any = typer.main.get_command(app)
    parts = [f"## {name}\n\n{_command(name, command)}" for name, command in commands()]
    overview = table(
        ("command", ""),
        ((f"`{name}`", one_line(command.help or "")) for name, command in commands()),
    )
    return page("Command line", prose(root.help), overview, prose(root.epilog), *parts)


def commands() -> Iterator[tuple[str, Any]]:
    """(full name, command) of everything that does something by itself; a group may, beside its commands."""
    return _walk(typer.main.get_command(app), _NAME)


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield name, command
    for word, child in children.items():
        yield from _walk(child, f"{name} {word}")


def _command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    line = " ".join([name, *(_argument(one) for one in arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(f"`{_argument(one)}`", "", one_line(one.help or "")) for one in arguments]
    rows += [(f"`{_option(one)}`", _default(one), one_line(one.help or "")) for one in options]
    parts = [prose(command.help), f"```\n{line}\n```", table(("", "default", ""), rows) if rows else ""]
    return "\n\n".join(part for part in parts if part)


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or 'TEXT'}"
    return ", ".join(option.opts) + value + (" …" if option.multiple else "")


def _default(option: Any) -> str:
    return "" if option.is_flag or option.default in (None, "") else f"`{option.default}`"
