"""The paths of a TES task: relative ones lie in its work folder, absolute ones in its containers. Pure.

A container's own root cannot be written to. So the folders that a task writes to at absolute paths are bound to it:
those of its outputs and of its executors' stdout and stderr, and its volumes. All executors see the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packhorse.domain.errors import Problem
from packhorse.domain.outputpath import (
    fixed_folder,
    fixed_text,
    has_loose_backslash,
    is_pattern,
    kept_as,
    normal,
    part_problem,
    plain,
)
from packhorse.domain.paths import folder_problem
from packhorse.domain.secretuse import secrets_of
from packhorse.domain.task import FileType, Output, Task

#: Folders whose files an image needs; what is bound there would hide them.
_OF_IMAGES = frozenset(
    {"/", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/etc", "/opt", "/usr", "/var", "/var/lib"}
    | {
        f"{top}/{name}"
        for top in ("/usr", "/usr/local")
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libexec", "share", "include")
    }
    | {"/usr/local"}
)
#: Top folders that tasks usually have for themselves. A ``workdir`` there, or in /tmp, is one that the task writes to;
#: elsewhere it is the image's. Runtimes that bind only to what an image has find these in every image.
TOP_FOLDERS = (
    "/data",
    "/in",
    "/input",
    "/inputs",
    "/mnt",
    "/out",
    "/output",
    "/outputs",
    "/results",
    "/scratch",
    "/tes",
    "/vol",
    "/volumes",
    "/work",
)
_OF_KERNEL = ("/dev", "/proc", "/sys")
_ROOT_HINT = "Put it into a folder, like '/data/out/result.txt'; of a folder itself, say 'type: DIRECTORY'."
_HIDE_HINT = "Use a folder of their own, like '/data/out'."
_NO_IMAGE_HINT = "Name an 'image' for each of its executors, or give the path relative to the task's work folder."


def is_within(path: str, folder: str) -> bool:
    """Whether an absolute path is ``folder`` or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class AbsolutePaths:
    """The absolute paths of a task, in their shortest form.

    ``shared`` are the outermost folders that it writes to, ``made`` those that it finds there, ``inputs`` and
    ``folders`` (those of them that are DIRECTORY) what it reads."""

    inputs: tuple[str, ...]
    folders: tuple[str, ...]
    shared: tuple[str, ...]
    made: tuple[str, ...]

    @classmethod
    def of(cls, task: Task) -> AbsolutePaths | None:
        """Those of a task; None where it has none."""
        written = dict.fromkeys(folder for _, folder in _written(task))
        given = [item for item in task.inputs or [] if item.path.startswith("/")]
        workdirs = [normal(step.workdir) for step in task.executors if step.workdir and step.workdir.startswith("/")]
        if not (written or given or workdirs or any((step.stdin or "").startswith("/") for step in task.executors)):
            return None
        shared = [
            one
            for one in written
            if one != "/" and not any(one != other and is_within(one, other) for other in written if other != "/")
        ]
        made = [one for one in dict.fromkeys([*written, *workdirs]) if any(is_within(one, folder) for folder in shared)]
        folders = tuple(normal(item.path) for item in given if item.type is FileType.DIRECTORY)
        return cls(tuple(normal(item.path) for item in given), folders, tuple(sorted(shared)), tuple(sorted(made)))

    @property
    def all(self) -> tuple[str, ...]:
        """What has to be bound."""
        return tuple(sorted({*self.inputs, *self.shared}))

    def is_shared(self, path: str) -> bool:
        """Whether an absolute path lies in a folder that the task writes to."""
        return any(is_within(normal(path), folder) for folder in self.shared)


def _written(task: Task) -> Iterator[tuple[str, str]]:
    """(what it is called, the folder that has to be there) for all that a task writes at absolute paths."""
    streams = {normal(path) for step in task.executors for path in (step.stdout, step.stderr) if path}
    for output in task.outputs or []:
        if output.path.startswith("/") and normal(plain(output.path)) not in streams:
            yield f"output '{output.path}'", folder_of(output)
    for index, step in enumerate(task.executors):
        for name, path in (("stdout", step.stdout), ("stderr", step.stderr)):
            if (path or "").startswith("/"):
                yield f"executor {index + 1}, {name} '{path}'", fixed_folder(normal(path or ""))
    given = [normal(item.path) for item in task.inputs or [] if item.path.startswith("/")]
    for index, step in enumerate(task.executors):
        workdir = normal(step.workdir or "")
        is_shared = any(is_within(workdir, top) for top in (*TOP_FOLDERS, "/tmp"))  # noqa: S108
        if is_shared and not any(is_within(workdir, path) for path in given):
            yield f"executor {index + 1}, workdir '{workdir}'", workdir
    for volume in task.volumes or []:
        if volume.startswith("/"):
            yield f"volume '{volume}'", normal(volume)
    for name, path in _secret_files(task):
        if path.startswith("/"):
            yield f"secret '{name}', file '{path}'", fixed_folder(normal(path))


def _secret_files(task: Task) -> Iterator[tuple[str, str]]:
    """(name, path) of the secrets that a task is given as files."""
    parameters = task.resources.backend_parameters if task.resources is not None else None
    for name, use in secrets_of(parameters).items():
        if use.file is not None:
            yield name, use.file


def folder_of(output: Output) -> str:
    """The folder that must be there for an output at an absolute path: itself, or where it lies in."""
    path = normal(output.path)
    return plain(path) if output.type is FileType.DIRECTORY and not is_pattern(path) else fixed_folder(path)


def path_problems(task: Task, *, in_images: bool) -> list[Problem]:
    """What is wrong with the paths of a task by themselves; ``in_images``: all of its executors have one."""
    problems = [problem for what, path in _paths(task) if (problem := _path_problem(what, path, in_images=in_images))]
    problems += [problem for output in task.outputs or [] if (problem := _output_problem(output))]
    problems += _twice("input", [normal(item.path) for item in task.inputs or []])
    kept = [
        (kept_as(plain(output.path)), output.path.startswith("/"))
        for output in task.outputs or []
        if not is_pattern(output.path)
    ]
    problems += [
        Problem(
            f"output '/{path}'",
            f"is kept under the same name as the output '{path}'.",
            "Give one of them another path.",
        )
        for path, is_absolute in dict.fromkeys(kept)
        if is_absolute and (path, False) in kept
    ]
    return problems or _conflicts(task)


def _paths(task: Task) -> Iterator[tuple[str, str]]:
    for item in task.inputs or []:
        yield "input", item.path
    for output in task.outputs or []:
        yield "output", plain(output.path)
    for index, step in enumerate(task.executors):
        for name in ("workdir", "stdin", "stdout", "stderr"):
            if (path := getattr(step, name)) is not None:
                yield f"executor {index + 1}, {name}", path
    for volume in task.volumes or []:
        yield "volume", volume
    for name, path in _secret_files(task):
        yield f"secret '{name}', file", path


def _path_problem(what: str, path: str, *, in_images: bool) -> Problem | None:
    shown = path[:200]
    if not path.startswith("/"):
        why = folder_problem(path) or part_problem(path)
        return Problem(what, f"the path '{shown}' {why}.") if why else None
    if not in_images:
        return Problem(what, f"the path '{shown}' is absolute, which needs a container.", _NO_IMAGE_HINT)
    if "\0" in path:
        return Problem(what, "the path contains a NUL byte.")
    if ".." in path.split("/"):
        return Problem(what, f"the path '{shown}' contains '..'.", "Write it without.")
    if normal(path) == "/" and not what.endswith("workdir"):
        return Problem(what, f"the path '{shown}' is the container's root.", _HIDE_HINT)
    if any(is_within(normal(path), folder) for folder in _OF_KERNEL) and not what.endswith("workdir"):
        return Problem(what, f"the path '{shown}' lies where a container has devices or processes.", _HIDE_HINT)
    return Problem(what, f"the path '{shown}' {why}.") if (why := part_problem(path)) else None


def _output_problem(output: Output) -> Problem | None:
    what = f"output '{output.path[:200]}'"
    if has_loose_backslash(output.path):
        return Problem(what, "has a backslash with nothing to escape.", "Write two for one.")
    if not is_pattern(output.path) or output.url is None:
        return None
    if output.path_prefix is None:
        hint = "Each match goes to url + its path without 'path_prefix', as in TES 1.1."
        return Problem(what, "has wildcards and a URL, but no 'path_prefix'.", hint)
    if not normal(fixed_text(output.path)).startswith(normal(plain(output.path_prefix))):
        return Problem(
            what,
            f"does not begin with its 'path_prefix', '{output.path_prefix[:200]}'.",
            "What all matches begin with can be one.",
        )
    return None


def _twice(what: str, paths: Iterable[str]) -> list[Problem]:
    seen: set[str] = set()
    again = dict.fromkeys(path for path in paths if path in seen or seen.add(path))  # type: ignore[func-returns-value]
    return [Problem(f"{what} '{path[:200]}'", "is there twice.", "Give each its own path.") for path in again]


def _conflicts(task: Task) -> list[Problem]:
    """Absolute paths that get in each other's way."""
    found = AbsolutePaths.of(task)
    if found is None:
        return []
    problems = []
    for path in found.inputs:
        if outer := next((other for other in found.inputs if other != path and is_within(path, other)), None):
            problems.append(
                Problem(
                    f"input '{path}'",
                    f"lies in the input '{outer}', which cannot be written to.",
                    "Give it a path of its own.",
                )
            )
    for what, folder in _written(task):
        if outer := next((path for path in found.inputs if is_within(folder, path)), None):
            problems.append(Problem(what, f"lies in the input '{outer}', which cannot be written to.", _HIDE_HINT))
        elif folder == "/" and not what.startswith("executor"):
            problems.append(
                Problem(what, "lies directly in the container's root, which cannot be written to.", _ROOT_HINT)
            )
        elif folder in _OF_IMAGES - {"/"}:
            problems.append(
                Problem(what, f"would be kept in '{folder}', and hide what the image has there.", _HIDE_HINT)
            )
    streams = {normal(path) for step in task.executors for path in (step.stdout, step.stderr) if path}
    for index, step in enumerate(task.executors):
        stdin = normal(step.stdin or "")
        if stdin.startswith("/") and stdin not in (*found.inputs, *streams) and not found.is_shared(stdin):
            what = f"executor {index + 1}, stdin '{stdin}'"
            problems.append(
                Problem(
                    what,
                    "is neither an input nor in a folder of an output or volume.",
                    "Name it as an input of its own.",
                )
            )
    return problems
