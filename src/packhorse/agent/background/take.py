"""Gives tasks what earlier ones left, if that is as it was: `agent.pyz --take`.

stdin has a line for each task: {"from": folder, "to": folder, "files": as in the journal}. Sizes and checksums are
looked at; then each file gets a second name below the folder of the new task, which outlives the other. What is printed
is a line of JSON for each, in order: null for one that was done, else why it was not.
"""

import json
import os
import shutil
import stat
import sys

from ..removal import remove
from ..sums import sum_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional


class Refused(Exception):
    """What is there is not what was left; the message says what is wrong, as part of a sentence."""


def main() -> int:
    """Take what stdin asks for; returns the exit code."""
    os.nice(10)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(try_to_take(json.loads(line))) + "\n")
        sys.stdout.flush()
    return 0


def try_to_take(wanted: "Dict[str, Any]") -> "Optional[str]":
    """Why a task cannot have what another left; None once it has it."""
    source, target = as_bytes(wanted["from"]), as_bytes(wanted["to"])
    try:
        for entry in wanted["files"]:
            check(source, entry)
        take(source, target)
    except Refused as refused:
        return str(refused)
    except OSError as error:
        remove(target + b".part")
        return "they cannot be taken: %s" % (error.strerror or error)
    return None


def check(folder: bytes, entry: "Dict[str, Any]") -> None:
    """Refused unless an output is there as it was reported."""
    name = os.path.normpath(as_bytes(entry["path"])).lstrip(b"/")
    path = folder + b"/" + name
    try:
        status = os.stat(path)
    except OSError as error:
        raise Refused("'%s' is gone (%s)" % (shown(name), error.strerror)) from None
    if stat.S_ISREG(status.st_mode) and status.st_size != entry["size"]:
        said = (shown(name), status.st_size, entry["size"])
        raise Refused("'%s' has %d bytes now, and %d were left" % said)
    if sum_of(path) != entry["sha256"]:
        raise Refused("'%s' has another content now: its checksum differs" % shown(name))


def take(source: bytes, target: bytes) -> None:
    """A folder with the same files under new names; what an interrupted attempt at that left is replaced."""
    part = target + b".part"
    remove(part)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copytree(os.fsdecode(source), os.fsdecode(part), symlinks=True, copy_function=second_name)
    remove(target)
    os.rename(part, target)


def second_name(source: "Any", target: "Any") -> None:
    """Another name for a file; a copy where the filesystem has no second names, or gives none of another's file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def as_bytes(path: str) -> bytes:
    """A path whose bytes that are not UTF-8 came as lone surrogates."""
    return path.encode("utf-8", "surrogateescape")


def shown(path: "Any") -> str:
    """A path for a person."""
    return (path if isinstance(path, bytes) else os.fsencode(path or "")).decode("utf-8", "replace")
