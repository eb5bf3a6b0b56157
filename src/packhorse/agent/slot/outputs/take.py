"""A task's outputs, from what it declared to what is in the out folder: all of them or none."""

import json
import os

from ...outcome import Verdict
from ...removal import remove
from ...sums import stamp_of, sum_of
from .folder import WorkFolder, shown, to_bytes
from .move import carry_out
from .plan import Plan
from .resolve import Output, refuse, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Sequence, Tuple

FEW = 40  # that can be reported however long their paths are
SUM = 106  # bytes of a checksum and a stamp in a record
MAX_RECORD = 1 << 20  # bytes of `files`: whoever collects a journal takes no line of more than twice as many


def take_outputs(work: str, task: "Mapping[str, Any]") -> "List[Dict[str, Any]]":
    """Move what the task declared to its out folder; returns an entry of each output for `files`.

    Verdict that names all that is wrong: then the work folder is as the task left it, and nothing is in the out folder
    that was not before.
    """
    if not os.path.lexists(work) and all(entry.get("optional") for entry in task["outputs"]):
        return []
    sources = [str(entry["source"]) for entry in task.get("inputs") or () if entry.get("content") is None]
    folder = WorkFolder(work, task.get("root"), sources)
    out = to_bytes(str(task.get("out") or ""), "outputs").rstrip(b"/")
    try:
        plan, outputs = decide(folder, task["outputs"], bool(task.get("sums")))
        if outputs and not out:
            raise Verdict("outputs", "the task has outputs but no folder for them (out)")
    except OSError as error:
        folder.close_again()
        raise Verdict("outputs", "its outputs cannot be looked at: %s" % told(error)) from None
    except BaseException:
        folder.close_again()
        raise
    if not outputs:
        folder.close_again()
        if out and os.path.lexists(out):
            remove(out)  # of an earlier attempt
        return []
    try:
        carry_out(plan, out, bool(task.get("work")))
    except OSError as error:
        raise Verdict("outputs", "its outputs could not be moved to %s: %s" % (shown(out), told(error))) from None
    report = [output.report(plan.sizes[output.name]) for output in outputs]
    if task.get("sums"):
        for entry, output in zip(report, outputs):
            add_sum(entry, out + b"/" + output.name)
    return report


def add_sum(entry: "Dict[str, Any]", path: bytes) -> None:
    """Add the checksum of an output that was kept, and its stamp; one that cannot be read, as another user's, has
    none.
    """
    try:
        stamp = stamp_of(path)  # before: who writes to it meanwhile has changed it since
        entry["sha256"] = sum_of(path)
        entry["stamp"] = stamp
    except OSError:
        pass


def decide(
    folder: WorkFolder, declared: "Sequence[Mapping[str, Any]]", with_sums: bool = False
) -> "Tuple[Plan, List[Output]]":
    """What is to be done, and for which outputs; Verdict if that cannot be done, OSError if something cannot be
    read.
    """
    plan = Plan(folder)
    outputs = resolve(folder, declared, plan.problems)
    plan.make(outputs)
    refuse(plan.problems)
    more = len(outputs) * SUM if with_sums else 0
    if len(outputs) > FEW and len(json.dumps([output.report(0) for output in outputs])) + more > MAX_RECORD:
        many = "its patterns match %d paths, more than can be reported" % len(outputs)
        raise Verdict("outputs", many + ": declare the folders that they are in")
    return plan, outputs


def told(error: OSError) -> str:
    """What went wrong, and with which file."""
    where = error.filename
    if not where:
        return str(error.strerror)
    return "%s (%s)" % (error.strerror, shown(where if isinstance(where, bytes) else os.fsencode(where)))
