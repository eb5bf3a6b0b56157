"""The steps of a task: TES executors, run in order until one fails."""

import os
import time

from ..outcome import Outcome, Verdict, tail_text
from ..staging import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from .containers import Containers
    from .context import Context


def run_steps(
    context: "Context",
    containers: "Optional[Containers]",
    task: "Dict[str, Any]",
    env: "Dict[str, str]",
    pair: int,
    outcome: Outcome,
) -> None:
    """Run a task's steps one after the other; the outcome is that of the first that fails, else of the last.

    Where there are several, or output goes into files, how each ended is told.
    """
    steps = task["steps"]
    tells = len(steps) > 1 or any(step.get("stdout") or step.get("stderr") for step in steps)
    for step in steps:
        if context.programs.signaled:
            return
        container = step.get("container", task.get("container"))
        began, sizes = time.time(), context.sizes(pair)
        run_step(context, containers if container else None, step, container, env, pair, outcome)
        if tells:
            outcome.steps.append(told(context, step, pair, outcome, began, sizes))
        if (outcome.exit != 0 or outcome.sig) and not step.get("ignore_error"):
            return
    if not context.programs.signaled:
        outcome.exit, outcome.sig = 0, None  # what failed was to be ignored


def told(
    context: "Context", step: "Dict[str, Any]", pair: int, outcome: Outcome, began: float, before: "Any"
) -> "Dict[str, Any]":
    """How a step ended: times, exit code or signal; where its output is, and the end of what went into files."""
    after = context.sizes(pair)
    record: "Dict[str, Any]" = {"t0": round(began, 3), "t1": round(time.time(), 3)}
    record["exit" if outcome.sig is None else "sig"] = outcome.exit if outcome.sig is None else outcome.sig
    for index, (name, stream) in enumerate((("out", "stdout"), ("err", "stderr"))):
        if step.get(stream):
            record["%s_tail" % name] = tail_of(context.work, step[stream])
        else:
            record[name] = [before[index], max(before[index], after[index])]
    return record


def tail_of(work: str, path: str) -> str:
    """The end of a file that a step wrote; empty where it is gone, or is no file any more."""
    try:
        fd = open_inside(work, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except Verdict:
        return ""
    try:
        size = os.fstat(fd).st_size
        return tail_text(os.pread(fd, 2049, max(0, size - 2049))) or ""
    except OSError:
        return ""
    finally:
        os.close(fd)


def run_step(
    context: "Context",
    containers: "Optional[Containers]",
    step: "Dict[str, Any]",
    container: "Any",
    env: "Dict[str, str]",
    pair: int,
    outcome: Outcome,
) -> None:
    """Run one step with its own environment, folder and files, in its own container if it has one."""
    opened: "List[int]" = []
    files = [context.null, context.captures[pair][0], context.captures[pair][1]]
    try:
        for index, (name, flags) in enumerate((("stdin", os.O_RDONLY), ("stdout", WRITE), ("stderr", WRITE))):
            if step.get(name):
                opened.append(open_inside(context.work, step[name], flags))
                files[index] = opened[-1]
        own = dict(env, **step["env"]) if step.get("env") else env
        enter(context, step.get("cwd"))
        if containers:
            containers.execute(container, step["argv"], env, (files[0], files[1], files[2]), outcome)
        else:
            context.programs.run(step["argv"], own, files[0], files[1], files[2], outcome)
    finally:
        for fd in opened:
            os.close(fd)
        if step.get("cwd"):
            os.chdir(context.work)


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


def enter(context: "Context", cwd: "Any") -> None:
    """Change into a step's folder, which is made if it is missing."""
    if cwd and os.path.normpath(cwd) != ".":
        target = inside(context.work, cwd, "spawn")
        try:
            os.makedirs(target, exist_ok=True)
            os.chdir(target)
        except OSError as error:
            raise Verdict("spawn", "%s: %s" % (cwd, error.strerror)) from None
