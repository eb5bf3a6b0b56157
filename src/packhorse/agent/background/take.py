"""Gives tasks what earlier ones left, if that is as it was: `agent.pyz --take`.

stdin has a line for each task: {"from": folder, "to": folder, "files": as in the journal, "level": number}. Sizes,
stamps and, where a stamp is missing or another, checksums are looked at; then each file gets a second name below the
folder of the new task, which outlives the other. What is printed is a line of JSON for each, in order: the new stamps
of the files of one that was done, else why it was not. After one that was not, those of a higher level are left alone:
false.
"""

import json
import os
import shutil
import stat
import sys

from ..removal import remove
from ..sums import stamp_of, sum_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Union


class Refused(Exception):
    """What is there is not what was left; the message says what is wrong, as part of a sentence."""


def main() -> int:
    """Take what stdin asks for; returns the exit code."""
    os.nice(10)
    highest: "Optional[int]" = None
    for line in sys.stdin:
        wanted = json.loads(line)
        level = wanted.get("level", 0)
        answer: "Union[List[Optional[str]], str, bool]" = False
        if highest is None or level <= highest:
            answer = try_to_take(wanted)
            highest = level if isinstance(answer, str) else highest
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


def try_to_take(wanted: "Dict[str, Any]") -> "Union[List[Optional[str]], str]":
    """The stamps of the files that a task has now of what another left; or why it cannot have them."""
    source, target = as_bytes(wanted["from"]), as_bytes(wanted["to"])
    try:
        for entry in wanted["files"]:
            check(place_of(source, entry), entry)
        take(source, target)
    except Refused as refused:
        return str(refused)
    except OSError as error:
        remove(target + b".part")
        return "they cannot be taken: %s" % (error.strerror or error)
    return [stamp_or_none(place_of(target, entry)) for entry in wanted["files"]]


def place_of(folder: bytes, entry: "Dict[str, Any]") -> bytes:
    """Where an output lies."""
    return folder + b"/" + os.path.normpath(as_bytes(entry["path"])).lstrip(b"/")


def stamp_or_none(path: bytes) -> "Optional[str]":
    """The stamp of a file; without one it is read the next time."""
    try:
        return stamp_of(path)
    except OSError:
        return None


def check(path: bytes, entry: "Dict[str, Any]") -> None:
    """Refused unless an output is there as it was reported."""
    name = os.path.normpath(as_bytes(entry["path"])).lstrip(b"/")
    try:
        status = os.stat(path)
    except OSError as error:
        raise Refused("'%s' is gone (%s)" % (shown(name), error.strerror)) from None
    if stat.S_ISREG(status.st_mode) and status.st_size != entry["size"]:
        said = (shown(name), status.st_size, entry["size"])
        raise Refused("'%s' has %d bytes now, and %d were left" % said)
    if entry.get("stamp") != stamp_of(path) and sum_of(path) != entry["sha256"]:
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
