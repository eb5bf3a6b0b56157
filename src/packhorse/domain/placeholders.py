"""Names in braces, of which commands and paths of outputs are filled in."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from packhorse.domain.numbers import shown

#: A name in braces, a doubled brace, or one that belongs to nothing.
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")


def _argument(given: Any) -> Any:
    """Text or a number. A bare ``true`` is neither: the program would get ``1``, or ``True``."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f"expected text or a number, found {shown(given)}; put it in quotes")
    return given


def _part(given: Any) -> Any:
    return [_argument(item) for item in given] if isinstance(given, list) else _argument(given)


Argument = Annotated[str | int | float, Field(union_mode="left_to_right")]
Part = Annotated[Argument | list[Argument], BeforeValidator(_part)]


def placeholders(parts: list[Part]) -> set[str]:
    """The names in braces in a command."""
    flat = [item for part in parts for item in (part if isinstance(part, list) else [part])]
    return {match[1] for item in flat if isinstance(item, str) for match in PLACEHOLDER.finditer(item) if match[1]}


def check_placeholders(field: str, parts: list[Part], known: Set[str]) -> None:
    """Raises ValueError for a name in braces that is not ``known``, and for a brace that belongs to none."""
    unknown = placeholders(parts) - known
    if unknown:
        raise ValueError(f"{field}: '{{{min(unknown)}}}' is neither a parameter nor one of {', '.join(sorted(known))}")
    for part in parts:
        for item in part if isinstance(part, list) else [part]:
            if isinstance(item, str) and any(match[0] in "{}" for match in PLACEHOLDER.finditer(item)):
                raise ValueError(
                    f"{field}: '{item}' has a brace that belongs to no placeholder; write '{{{{' or '}}}}' for a brace"
                    " itself"
                )
