"""Work folders that outlive an attempt, for tasks that can go on where an earlier attempt stopped."""

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

    from .files import Files

SCAN = 64 << 20  # bytes of each stream that are searched for progress, from its end


def enter(files: "Files", task: "Mapping[str, Any]") -> None:
    """Make the folder that a task keeps its work folder, with what an earlier attempt left in it."""
    folder = str(task["work"])
    if os.path.islink(folder):
        os.unlink(folder)  # an earlier attempt has put it there
    os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        os.chmod(folder, 0o700)
    if task.get("out") and os.path.lexists(task["out"] + ".moves"):
        from .outputs.move import recover

        recover(task["out"])
    os.chdir(folder)
    files.work = folder


def leave(files: "Files", home: str, task: "Mapping[str, Any]", finished: bool) -> None:
    """Back to the slot's own folder; what a finished task leaves behind goes."""
    folder, files.work = files.work, home
    os.chdir(home)
    if finished:
        from ..removal import remove

        remove(folder)
        if task.get("out") and task.get("outputs"):
            from .outputs.move import forget

            forget(task["out"])


def count_progress(pattern: str, descriptors: "Iterable[int]") -> int:
    """How many lines of the task's output `pattern` is found in; 0 for a pattern that is none."""
    try:
        found = re.compile(pattern.encode("utf-8"))
    except re.error:
        return 0
    number = 0
    for descriptor in descriptors:
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, SCAN, max(0, size - SCAN))
        number += sum(1 for line in data.split(b"\n") if found.search(line))
    return number
