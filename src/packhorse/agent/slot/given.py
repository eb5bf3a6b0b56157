"""What a task is given that is gone afterwards: secrets, and a folder that it shares with other tasks of its site."""

import json
import os

from ..outcome import Verdict
from ..staging import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Mapping


def give(work: str, task: "Mapping[str, Any]") -> "Dict[str, str]":
    """Make the shared folder and the token of a task; returns the variables that are as secret."""
    shared, secrets = task.get("shared"), task.get("secrets")
    if shared:
        try:
            os.makedirs(str(shared["path"]), 0o700, exist_ok=True)
        except OSError as error:
            raise Verdict("inputs", "its shared folder: %s" % error) from None
    if not secrets:
        return {}
    try:
        with open(str(secrets["file"]), encoding="utf-8") as file:
            kept = json.load(file)
        if secrets.get("token"):
            write_private(inside(work, str(secrets["token"]), "inputs"), str(kept["token"]))
        env = {str(name): str(value) for name, value in (kept.get("env") or {}).items()}
        values = kept.get("values") or {}
        for path, name in (secrets.get("files") or {}).items():
            write_private(inside(work, str(path), "inputs"), str(value_of(values, name)))
        own = {str(variable): value_of(values, name) for variable, name in (secrets.get("variables") or {}).items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        # not its text, which may have a part of the secret
        raise Verdict("inputs", "its secrets cannot be read: %s" % type(error).__name__) from None
    env = {name: value.replace("{task}", str(task["id"])) for name, value in env.items()}
    env.update(own)
    return env


def value_of(values: "Mapping[str, Any]", name: str) -> str:
    """A secret of the task's user; Verdict if there is none of this name."""
    if name not in values:
        raise Verdict("inputs", "its user has no secret '%s'" % name)
    return str(values[name])


def write_private(path: str, text: str) -> None:
    """A file that only its owner may read, in place of what an earlier attempt left."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def take_back(work: str, task: "Mapping[str, Any]") -> None:
    """The task is over: its token goes, and the shared folder, if it is its own."""
    from ..removal import remove

    shared = task.get("shared")
    take_back_files(work, task)
    if shared and shared.get("is_own"):
        remove(str(shared["path"]))


def take_back_files(work: str, task: "Mapping[str, Any]") -> None:
    """The task's secrets are gone from its work folder: before its outputs are taken, which may be a pattern."""
    secrets = task.get("secrets") or {}
    token = [secrets["token"]] if secrets.get("token") else []
    for path in token + list(secrets.get("files") or {}):
        try:
            os.unlink(inside(work, str(path), "inputs"))
        except (OSError, Verdict):
            pass  # the task removed it, or what is in its way is removed with the work folder
