"""A task's outputs, from what it declared to what is in the out folder: all of them or none."""

import json
import os

from ...outcome import Verdict
from ...removal import remove
from .folder import WorkFolder, shown, to_bytes
from .move import carry_out
from .plan import Plan
from .resolve import refuse, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping

FEW = 40  # that can be reported however long their paths are
MAX_RECORD = 1 << 20  # bytes of `files`: whoever collects a journal takes no line of more than twice as many


def take_outputs(work: str, task: "Mapping[str, Any]") -> "List[Dict[str, Any]]":
    """Move what the task declared to its out folder; returns an entry of each output for `files`.

    Verdict that names all that is wrong: then the work folder is as the task left it, and nothing is in the out folder
    that was not before.
    """
    sources = [str(entry["source"]) for entry in task.get("inputs") or () if entry.get("content") is None]
    folder = WorkFolder(work, task.get("root"), sources)
    plan = Plan(folder)
    try:
        outputs = resolve(folder, task["outputs"], plan.problems)
        plan.make(outputs)
        refuse(plan.problems)
        if outputs and not task.get("out"):
            raise Verdict("outputs", "the task has outputs but no folder for them (out)")
        if len(outputs) > FEW and len(json.dumps([output.report(0) for output in outputs])) > MAX_RECORD:
            raise Verdict(
                "outputs", "its patterns match %d paths, more than can be reported: declare the folders that they are in" % len(outputs)
            )
    except BaseException:
        folder.close_again()
        raise
    out = to_bytes(str(task.get("out") or ""), "outputs").rstrip(b"/")
    if not outputs:
        folder.close_again()
        if out and os.path.lexists(out):
            remove(out)  # of an earlier attempt
        return []
    try:
        carry_out(plan, out, bool(task.get("work")))
    except OSError as error:
        where = " (%s)" % shown(os.fsencode(error.filename)) if error.filename else ""
        raise Verdict("outputs", "its outputs could not be moved to %s: %s%s" % (shown(out), error.strerror, where)) from None
    return [output.report(plan.sizes[output.name]) for output in outputs]
