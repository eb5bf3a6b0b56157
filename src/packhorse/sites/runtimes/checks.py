"""What is refused whatever the runtime: things that no option can express, or that would be taken for an option."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from packhorse.sites.runtimes.base import Ability, CannotRun, ContainerSpec, Image

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


def check_spec(spec: ContainerSpec, abilities: frozenset[Ability], runtime: str) -> None:
    """Raises CannotRun with the first reason why ``runtime`` cannot run ``spec``."""
    for problem in (_image_problem(spec), _text_problem(spec), *_path_problems(spec), _need_problem(spec, abilities)):
        if problem:
            raise CannotRun(f"{runtime} cannot run this: {problem}.")


def check_image(image: Image, runtime: str) -> None:
    """Raises CannotRun when an image's name, digest or paths are not what they should be."""
    problem = None
    if not _REPOSITORY.match(image.name):
        problem = f"{image.name!r} is not the name of an image"
    elif not _DIGEST.match(image.digest):
        problem = f"{image.digest!r} is not a digest (sha256: and 64 hexadecimal digits)"
    elif image.tag is not None and not _TAG.match(image.tag):
        problem = f"{image.tag!r} is not a tag"
    for path in (image.folder, *image.mount_points, *(path for path in (image.layout, image.mounted) if path)):
        problem = (
            problem
            or absolute_problem(path)
            or ("':' in a path is taken for a separator: " + path if ":" in path else None)
        )
    if problem:
        raise CannotRun(f"{runtime} cannot prepare this: {problem}.")


def absolute_problem(path: str) -> str | None:
    """Why ``path`` is not a plain absolute path; None when it is."""
    if not path.startswith("/") or "\0" in path:
        return f"the path {path!r} is not absolute" if "\0" not in path else "a path contains a NUL byte"
    return f"the path {path!r} contains '..'" if ".." in PurePosixPath(path).parts else None


def _image_problem(spec: ContainerSpec) -> str | None:
    if spec.image.startswith("-") or "\0" in spec.image:
        return f"{spec.image!r} is not an image"
    if not spec.command:
        return "there is no command, and the image has none"
    return "the name of the program is empty" if not spec.command[0] else None


def _text_problem(spec: ContainerSpec) -> str | None:
    if any("\0" in text for text in (*spec.command, *spec.environment.values())):
        return "a command or variable contains a NUL byte"
    for name in (*spec.environment, *spec.pass_env):
        if not _VARIABLE.match(name):
            return f"{name!r} is not a name of an environment variable (letters, digits and _)"
    if spec.name is not None and not _NAME.match(spec.name):
        return f"{spec.name!r} is not a name of a container (letters, digits, '_', '.', '-')"
    return None


def _path_problems(spec: ContainerSpec) -> list[str | None]:
    paths = [spec.folder, *(path for bind in spec.binds for path in (bind.source, bind.target))]
    found = [absolute_problem(path) for path in paths if path or spec.image]
    if spec.cgroup_parent is not None:
        found.append(absolute_problem(spec.cgroup_parent))
    if any(PurePosixPath(bind.target) == PurePosixPath("/") for bind in spec.binds):
        found.append("nothing can be bound over the root of the image")
    return found


def _need_problem(spec: ContainerSpec, abilities: frozenset[Ability]) -> str | None:
    if spec.ranks_on_node and not spec.network:
        return "without a network its ranks could not reach each other"
    needs = [
        (bool(spec.image), Ability.IMAGES, "it has no images; the task must run on the host's own programs"),
        (
            any(bind.read_only for bind in spec.binds),
            Ability.READ_ONLY_BINDS,
            "it cannot keep a task from writing to what is bound",
        ),
        (spec.writable_root, Ability.WRITABLE_ROOT, "it cannot let a task change the files of the image"),
        (not spec.network, Ability.NO_NETWORK, "it cannot take the network away"),
        (spec.gpus > 0, Ability.GPUS, "it cannot give GPUs to a task"),
        (spec.ranks_on_node > 0, Ability.RANKS, "its containers cannot be started by a launcher, one for each rank"),
    ]
    return next((sentence for needed, ability, sentence in needs if needed and ability not in abilities), None)
