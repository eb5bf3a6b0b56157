"""Which files and folders of a work folder a task's declared outputs are, all of them before anything is done with
one.
"""

import os

from ...outcome import Verdict
from .folder import NotThere, WorkFolder, shown, shown_text, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

LISTED = 10  # names and problems that a message has at most


class Output:
    """One output that is there.

    `name` is where it is kept below the out folder, `source` where it is declared to be (links and all).
    """

    __slots__ = ("path", "pattern", "name", "source", "real")

    def __init__(self, path: str, pattern: "Optional[str]", name: bytes, source: bytes, real: bytes) -> None:
        self.path = path
        self.pattern = pattern
        self.name = name
        self.source = source
        self.real = real

    def report(self, size: int) -> "Dict[str, Any]":
        """Its entry in `files` of the `end` record."""
        entry: "Dict[str, Any]" = {"path": self.path, "size": size}
        if self.pattern is not None:
            entry["glob"] = self.pattern
        return entry


def resolve(folder: WorkFolder, outputs: "Sequence[Mapping[str, Any]]", problems: "List[str]") -> "List[Output]":
    """The outputs that are there, in the order of their declaration; what is wrong is added to `problems`."""
    found = []
    for entry in outputs:
        path = str(entry.get("path", ""))
        optional = bool(entry.get("optional"))
        trouble = why_not(folder, path)
        if trouble:
            problems.append(trouble)
        elif entry.get("glob"):
            matches = list(expand_in(folder, path))
            if not matches and not optional:
                problems.append("the task left nothing that matches %s%s" % (shown_text(path), what_there_is(folder)))
            for match in matches:
                found += resolve_one(folder, match, path, optional, problems)
        else:
            found += resolve_one(folder, path, None, optional, problems)
    return found


def why_not(folder: WorkFolder, path: str) -> "Optional[str]":
    """What is wrong with a declared path, whatever the task has left."""
    try:
        to_bytes(path, "outputs")
    except Verdict as verdict:
        return verdict.msg
    if not path or ".." in path.split("/") or "\0" in path or os.path.isabs(path) and folder.root is None:
        return "%s is not a relative path inside the work folder" % (shown_text(path) or "an empty path")
    if os.path.normpath(path).strip("/") in ("", "."):
        return "%s is the work folder itself: name what is to be kept of it" % shown_text(path)
    return None


def resolve_one(
    folder: WorkFolder, path: str, pattern: "Optional[str]", optional: bool, problems: "List[str]"
) -> "List[Output]":
    """One path: a list of the one output that it is, or of none."""
    name = os.path.normpath(to_bytes(path, "outputs")).lstrip(b"/")
    source = (folder.root if path.startswith("/") and folder.root else folder.path) + b"/" + name
    try:
        real = folder.follow(source)
    except NotThere as error:
        if error.loops:
            problems.append("%s is a link that leads back to itself" % shown_text(path))
        elif folder.exists(source):
            problems.append("%s is a link to nothing (%s)" % (shown_text(path), folder.name_of(error.where)))
        elif not optional:
            problems.append("the task left no %s%s" % (shown_text(path), what_there_is(folder)))
        return []
    except OSError as error:
        problems.append("%s cannot be read: %s" % (shown_text(path), error.strerror))
        return []
    if real == folder.path:
        problems.append("%s is a link to the work folder itself" % shown_text(path))
    elif not folder.has(real) and not folder.is_input(real):
        problems.append("%s leads out of the work folder, to %s" % (shown_text(path), shown(real)))
    else:
        return [Output(path, pattern, name, source, real)]
    return []


def expand_in(folder: WorkFolder, pattern: str) -> "Iterator[str]":
    """The paths in the work folder that a pattern matches."""
    from .wildcards import expand

    base = folder.root if pattern.startswith("/") and folder.root else folder.path

    def at(path: str) -> bytes:
        return base + b"/" + to_bytes(path, "outputs").lstrip(b"/")

    def names(path: str) -> "Optional[List[str]]":
        try:
            return [entry.name.decode("utf-8", "surrogateescape") for entry in folder.entries(folder.follow(at(path)))]
        except (OSError, NotThere):
            return None

    yield from expand(pattern, names, lambda path: folder.exists(at(path)))


def what_there_is(folder: WorkFolder) -> str:
    """What the work folder holds, for whoever looks for an output that is not there: the folder itself will be gone."""
    try:
        entries = sorted(folder.entries(folder.path), key=lambda entry: entry.name)
    except OSError:
        return ""
    names = [shown(entry.name) + ("/" if entry.is_dir(follow_symlinks=False) else "") for entry in entries]
    more = ", and %d more" % (len(names) - LISTED) if len(names) > LISTED else ""
    return " (it left %s%s)" % (", ".join(names[:LISTED]), more) if names else " (it left nothing)"


def refuse(problems: "Sequence[str]") -> None:
    """Verdict that names every problem; none if there is none."""
    if not problems:
        return
    more = "; and %d more" % (len(problems) - LISTED) if len(problems) > LISTED else ""
    raise Verdict("outputs", "; ".join(problems[:LISTED]) + more)
