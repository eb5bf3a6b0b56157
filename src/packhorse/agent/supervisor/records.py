"""`end` records of slots with what only the supervisor knows: values in, values out."""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List

    from .task import Task


def was_terminated(record: bytes) -> bool:
    """Whether a program ended by SIGTERM, or says that one of its own did."""
    return b'"exit":143' in record or b'"sig":15' in record


def as_drained(record: bytes) -> bytes:
    """A program that fails while its job is being ended was ended with it: batch systems signal the ranks of a task by
    themselves.
    """
    fields = json.loads(record.decode("ascii"))
    if fields.get("why") is None and fields.get("exit") != 0:
        how = "signal %s" % fields["sig"] if fields.get("sig") else "exit code %s" % fields.get("exit")
        fields["why"], fields["msg"] = "drained", "it ended with %s while its job was being ended" % how
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def amend(record: bytes, task: "Task", killed: bool, ranges: "List[Any]") -> bytes:
    """A slot's `end` record with what only the supervisor knows.

    A verdict stands only if its kill met the task alive.
    """
    if not (killed and task.verdict) and not task.peak:
        if not ranges:
            return record
        told = b",".join(b'["%s",%d,%d]' % (name.encode(), offset, length) for name, offset, length in ranges)
        return b'%s,"log":[%s]}' % (record[:-1], told)
    fields = json.loads(record.decode("ascii"))
    fields["peak"] = max(fields.get("peak", 0), task.peak)
    if killed and task.verdict and fields.get("why") != "memory":
        fields["why"], fields["msg"] = task.verdict, task.msg
        for gone in ("files", "result"):
            fields.pop(gone, None)
    if ranges:
        fields["log"] = ranges
    kept = {key: value for key, value in fields.items() if value is not None}
    return json.dumps(kept, separators=(",", ":")).encode("ascii")
