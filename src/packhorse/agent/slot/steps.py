"""The steps of a task: TES executors, run in order until one fails."""

import os

from ..outcome import Outcome, Verdict
from ..staging import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from .main import Slot


def run_steps(slot: "Slot", task: "Dict[str, Any]", env: "Dict[str, str]", pair: int, outcome: Outcome) -> None:
    """Run a task's steps one after the other; the outcome is that of the first that fails, else of the last."""
    for step in task["steps"]:
        if slot.killed:
            return
        run_step(slot, step, step.get("container", task.get("container")), env, pair, outcome)
        if (outcome.exit != 0 or outcome.sig) and not step.get("ignore_error"):
            return
    if not slot.killed:
        outcome.exit, outcome.sig = 0, None  # what failed was to be ignored


def run_step(
    slot: "Slot", step: "Dict[str, Any]", container: "Any", env: "Dict[str, str]", pair: int, outcome: Outcome
) -> None:
    """Run one step with its own environment, folder and files, in its own container if it has one."""
    opened: "List[int]" = []
    files = [slot.null, slot.captures[pair][0], slot.captures[pair][1]]
    try:
        for index, (name, flags) in enumerate((("stdin", os.O_RDONLY), ("stdout", WRITE), ("stderr", WRITE))):
            if step.get(name):
                opened.append(open_inside(slot.work, step[name], flags))
                files[index] = opened[-1]
        own = dict(env, **step["env"]) if step.get("env") else env
        enter(slot, step.get("cwd"))
        if container and slot.containers:
            slot.containers.execute(container, step["argv"], env, (files[0], files[1], files[2]), outcome)
        else:
            slot.execute(step["argv"], own, files[0], files[1], files[2], outcome)
    finally:
        for fd in opened:
            os.close(fd)
        if step.get("cwd"):
            os.chdir(slot.work)


WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def open_inside(work: str, path: str, flags: int) -> int:
    """Open one of a step's files; it may be an input that we linked, but nothing outside is written."""
    target = inside(work, path, "spawn")
    try:
        if flags & os.O_CREAT:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            flags |= os.O_NOFOLLOW
        return os.open(target, flags, 0o666)
    except OSError as error:
        raise Verdict("spawn", "%s: %s" % (path, error.strerror)) from None


def enter(slot: "Slot", cwd: "Any") -> None:
    """Change into a step's folder, which is made if it is missing."""
    if cwd and os.path.normpath(cwd) != ".":
        target = inside(slot.work, cwd, "spawn")
        try:
            os.makedirs(target, exist_ok=True)
            os.chdir(target)
        except OSError as error:
            raise Verdict("spawn", "%s: %s" % (cwd, error.strerror)) from None
