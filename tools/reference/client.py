"""The Python client, from its signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from packhorse.client import Client, Pipeline, RunHandle, Step
from packhorse.domain import errors
from tools.reference.markdown import WIDTH, one_line, page, prose, table

_INTRODUCTION = """
`from packhorse.client import Client`. What ends in `View`, and `Account`, has the fields that
[the REST API](rest.md#documents) has under the same name.
"""


def client_page() -> str:
    """A section for each class, with its public methods in the order of the source; and the errors."""
    classes = [f"## {kind.__name__}\n\n{_class(kind)}" for kind in (Client, RunHandle, Pipeline, Step)]
    return page("Python client", prose(_INTRODUCTION), *classes, f"## Errors\n\n{_errors()}")


def public(kind: type) -> Iterator[tuple[str, Any]]:
    """(name, function or property) of what users may call."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            yield name, member


def _class(kind: type) -> str:
    init = _call(kind.__name__, kind.__init__) if kind in (Client, Pipeline) else ""  # others are made by these
    parts = [prose(kind.__doc__), init]
    for name, member in public(kind):
        is_property = isinstance(member, property)
        shown = f"```python\n{name}: {inspect.signature(member.fget).return_annotation}\n```" if is_property else ""
        parts += [f"### {kind.__name__}.{name}", shown or _call(name, member), prose(member.__doc__)]
    return "\n\n".join(part for part in parts if part)


def _call(name: str, function: Any) -> str:
    """A call in one line, or with a line for each argument."""
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    answer = signature.return_annotation
    end = "" if answer in (inspect.Signature.empty, "None") else f" -> {answer}"
    words: list[str] = []
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(_parameter(one))
    line = f"{name}({', '.join(words)}){end}"
    if len(line) > WIDTH - 20:
        line = f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){end}"
    return f"```python\n{line}\n```"


def _parameter(one: inspect.Parameter) -> str:
    """Annotations are text here, as they stand in the source."""
    default = tuple(map(str, one.default)) if isinstance(one.default, tuple) else one.default  # of members of an enum
    return f"{one.name}: {one.annotation}" + ("" if default is one.empty else f" = {default!r}")


def _errors() -> str:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    rows = [(f"`{kind.__name__}`", f"`{kind.__mro__[1].__name__}`", one_line(kind.__doc__ or "")) for kind in kinds]
    return f"All are in `packhorse.domain.errors`.\n\n{table(('error', 'is a', ''), rows)}"
