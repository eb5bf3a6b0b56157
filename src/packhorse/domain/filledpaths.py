"""Paths of outputs whose placeholders values fill in: none may leave its task's work folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packhorse.domain.app import OutputDeclaration
from packhorse.domain.errors import Problem
from packhorse.domain.outputpath import part_problem, plain
from packhorse.domain.paths import folder_problem
from packhorse.domain.render import OutputPath, as_text, granted, output_paths
from packhorse.domain.resources import Resources


class FilledPaths:
    """The output paths of one kind of task that have placeholders; most apps have none, and then nothing is looked at
    for a row.
    """

    def __init__(self, outputs: Mapping[str, OutputDeclaration], resources: Resources) -> None:
        self._paths = {name: path for name, path in output_paths(outputs).items() if path.names}
        self._fixed = {**granted(resources), "run": "r", "task": "r.0"}

    def problems(self, where: str, values: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with the paths of a task that has these ``values``, by the columns that they come from."""
        return [problem for name, path in self._paths.items() if (problem := self._problem(where, name, path, values))]

    def _problem(self, where: str, output: str, path: OutputPath, values: Mapping[str, Any]) -> Problem | None:
        filled = {**self._fixed, **values}
        rendered = path.render(filled)["path"]
        path_there = plain(rendered) if path.glob else rendered
        why = folder_problem(path_there) or part_problem(path_there)
        if why is None:
            return None
        names = list(dict.fromkeys(path.names))
        given = ", ".join(f"'{name}'" for name in names)
        shown = ", ".join(_short(as_text(filled.get(name))) for name in names)
        columns = f"{where}, parameter{'s' if len(names) > 1 else ''} {given}" if where else f"output '{output}'"
        what = (
            f"with {shown} the path of the output '{output}' would be '{_short(path_there, quoted=False)}', which"
            f" {why}."
        )
        return Problem(columns, what)


def _short(text: str, *, quoted: bool = True) -> str:
    cut = (text if len(text) <= 60 else text[:57] + "...").replace("\0", "\\0")
    return f"'{cut}'" if quoted else cut
