"""Renders an app's template and one row of parameters into what an agent executes (docs/spool.md). Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from packhorse.domain.app import AppManifest, OutputDeclaration, Session
from packhorse.domain.outputpath import escaped, is_pattern, plain
from packhorse.domain.placeholders import PLACEHOLDER, Part
from packhorse.domain.resources import Resources

Values = Mapping[str, Any]
Renderer = Callable[[Values], list[str]]


def compile_parts(parts: list[Part]) -> Renderer:
    """A function from values to argv, made once per run and called once per task.

    ``{name}`` becomes the value as text; a group (a nested list) is left out when a parameter in it is None or False.
    """
    groups: list[tuple[bool, list[tuple[list[str], list[str]]]]] = []
    for part in parts:
        items = part if isinstance(part, list) else [part]
        groups.append((isinstance(part, list), [taken_apart(str(item)) for item in items]))

    def render(values: Values) -> list[str]:
        argv: list[str] = []
        for is_group, items in groups:
            if is_group and any(
                values.get(name) is None or values.get(name) is False for _, names in items for name in names
            ):
                continue
            for literals, names in items:
                if not names:
                    argv.append(literals[0])
                    continue
                text = literals[0]
                for name, literal in zip(names, literals[1:], strict=True):
                    text += as_text(values.get(name)) + literal
                argv.append(text)
        return argv

    return render


def as_text(value: Any) -> str:
    """A parameter's value as a command-line argument; absent is empty, whole floats lose their point."""
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def taken_apart(text: str) -> tuple[list[str], list[str]]:
    """('a{x}b' → (['a', 'b'], ['x'])): literals around the names; ``{{`` and ``}}`` stand for braces."""
    literals, names, last = [""], [], 0
    for match in PLACEHOLDER.finditer(text):
        literals[-1] += text[last : match.start()]
        last = match.end()
        if match[1]:
            names.append(match[1])
            literals.append("")
        else:
            literals[-1] += match[0][0]
    literals[-1] += text[last:]
    return literals, names


@dataclass(frozen=True, slots=True)
class OutputPath:
    """The path of an output of an app, taken apart once: a value in it is never a wildcard."""

    literals: list[str]
    names: list[str]
    optional: bool
    glob: bool

    @classmethod
    def of(cls, output: OutputDeclaration) -> OutputPath:
        """From its declaration, which has a ``path``."""
        literals, names = taken_apart(output.path or "")
        glob = is_pattern("\n".join(literals))
        return cls(literals if glob else [plain(literal) for literal in literals], names, output.optional, glob)

    def render(self, values: Values) -> dict[str, Any]:
        """The entry of a line of a block."""
        path = self.literals[0]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            text = as_text(values.get(name))
            path += (escaped(text) if self.glob else text) + literal
        return {"path": path, "optional": self.optional, **({"glob": True} if self.glob else {})}


def output_paths(outputs: Mapping[str, OutputDeclaration]) -> dict[str, OutputPath]:
    """The paths of those outputs that are files or folders, by name."""
    return {name: OutputPath.of(output) for name, output in outputs.items() if output.path is not None}


@dataclass(frozen=True, slots=True)
class Template:
    """What all tasks of a step have in common, in the form of docs/spool.md, and how to render one of them.

    ``outputs`` gives a task's own, where their paths have placeholders; then the document has none.
    """

    key: str
    document: dict[str, Any]
    arguments: Renderer
    outputs: Callable[[Values], list[dict[str, Any]]] | None = None

    def outputs_of(self, values: Values) -> list[dict[str, Any]]:
        """What a task has to leave."""
        found: list[dict[str, Any]] = self.document["outputs"] if self.outputs is None else self.outputs(values)
        return found


def app_template(
    manifest: AppManifest,
    app_dir: str,
    resources: Resources,
    *,
    gather: bool = False,
    resume: bool = False,
    refdata: Mapping[str, str] | None = None,
) -> Template:
    """The template of an app's tasks (or of its gathering task) at a site where the app's folder is ``app_dir``.

    ``resume``: of those that go on where an earlier attempt stopped. ``refdata``: where its reference data is, by name.
    """
    fixed = {"app": app_dir, **granted(resources), **(refdata or {})}
    command = manifest.command
    arguments = manifest.arguments
    outputs = manifest.outputs
    session = manifest.session
    if gather and manifest.gather is not None:
        command = manifest.gather.command or manifest.command
        arguments, outputs, session = manifest.gather.arguments, manifest.gather.outputs, Session.NONE
    paths = list(output_paths(outputs).values())
    own = any(path.names for path in paths)
    worker = session is Session.WORKER
    start = (
        [*compile_parts(command)(fixed), "--persistent_worker"]
        if worker
        else ["/bin/sh"]
        if session is Session.SHELL
        else None
    )
    document: dict[str, Any] = {
        "session": session.value,
        "start": start,
        "env": {**threads(resources), **manifest.env},
        **limits(resources),
        "outputs": [] if own else [path.render({}) for path in paths],
        "result": next((output.type for output in outputs.values() if output.source), "none"),
    }
    if manifest.resumable and not gather:
        document["progress"] = manifest.progress
        if resume:
            arguments = [*arguments, *manifest.resume]
    render = compile_parts(arguments if worker else [*command, *arguments])
    return Template(
        template_key(document), document, lambda values: render({**fixed, **values}),
        (lambda values: [path.render({**fixed, **values}) for path in paths]) if own else None,
    )  # fmt: skip


def granted(resources: Resources) -> dict[str, Any]:
    """The placeholders that tell a tool what it was granted."""
    return {
        "cores": resources.cpu_cores,
        "memory_gb": resources.ram_gb,
        "nodes": resources.nodes,
        "ranks": resources.ranks,
    }


#: What libraries read that would else take all cores of a node.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def threads(resources: Resources) -> dict[str, str]:
    """Environment variables that tell libraries how many cores were granted."""
    return dict.fromkeys(_THREADS, str(max(1, int(resources.cpu_cores / (resources.ranks_per_node or 1)))))


def limits(resources: Resources) -> dict[str, Any]:
    """The fields of a template that say what is granted and enforced, and whether its tasks see the job that they are
    in.
    """
    granted = {"cores": resources.cpu_cores, "memory_mb": resources.memory_mb, "walltime_s": resources.walltime_s}
    return {**granted, "launches": True} if resources.starts_ranks else granted


def template_key(document: dict[str, Any]) -> str:
    """The same content has the same key."""
    return "t-" + hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
