"""Turns an agent's ``end`` record (docs/spool.md) into what it means: success, or a failure class with evidence.

Pure.
"""

from __future__ import annotations

import re
import signal as signals
from dataclasses import dataclass
from typing import Any

from packhorse.domain.failures import Evidence, FailureClass, classify
from packhorse.domain.resources import GB, Resources

_LINE_CHARS = 300
_KILLED = 128 + signals.SIGKILL
_OOM_WORDS = re.compile(r"oom[-_ ]kill|out of memory|std::bad_alloc", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, and what is known about it."""

    failure: FailureClass
    evidence: Evidence


def judge(record: dict[str, Any], granted: Resources, node: str | None) -> Failure | None:
    """None when the attempt succeeded."""
    exit_code, signal = record.get("exit"), record.get("sig")
    failure = classify(record.get("why"), exit_code, signal)
    if failure is None:
        return None
    if failure is FailureClass.APP and granted.nodes > 1 and _ran_out_elsewhere(record):
        failure = FailureClass.OUT_OF_MEMORY
    limit_bytes = None if granted.ram_gb is None else int(granted.ram_gb * GB)
    evidence = Evidence(
        message=_message(failure, record, granted),
        exit_code=exit_code,
        signal=signal,
        peak_memory_bytes=record.get("peak"),
        memory_limit_bytes=limit_bytes,
        wall_s=record.get("wall"),
        walltime_limit_s=granted.walltime_s,
        node=node,
        stderr_tail=record.get("tail"),
        progress=record.get("progress"),
    )
    return Failure(failure, evidence)


def _ran_out_elsewhere(record: dict[str, Any]) -> bool:
    """Whether a rank on a node that the agent does not see was killed for its memory: the launcher's exit code, or
    Slurm's words.
    """
    return record.get("exit") == _KILLED or bool(_OOM_WORDS.search(str(record.get("tail") or "")))


def node_lost(node: str | None, scheduler_says: str) -> Failure:
    """The failure of a task whose agent died."""
    where = f" on {node}" if node else ""
    message = f"Its agent{where} died before the task ended ({scheduler_says})."
    return Failure(FailureClass.NODE_LOST, Evidence(message, node=node, scheduler_state=scheduler_says))


def _message(failure: FailureClass, record: dict[str, Any], granted: Resources) -> str:
    said = record.get("msg")
    match failure:
        case FailureClass.OUT_OF_MEMORY:
            peak = f" (peak {record['peak'] / GB:.2f} GB)" if record.get("peak") else ""
            limit = f" of {granted.ram_gb:g} GB" if granted.ram_gb else ""
            return f"It went over its memory limit{limit}{peak}."
        case FailureClass.OUT_OF_TIME:
            return (
                f"It ran into its walltime of {granted.walltime_s:g} s."
                if granted.walltime_s
                else "It ran out of time."
            )
        case FailureClass.PREEMPTED:
            return "Its allocation ended before it could finish."
        case FailureClass.CANCELED:
            return "It was canceled."
        case _ if said:
            return str(said)
        case _ if record.get("sig"):
            return f"It was ended by {_signal_name(record['sig'])}."
        case _:
            said = last_line(record.get("tail"))
            return (
                "It ended with exit code"
                f" {record.get('exit')}{f'; the last line of its stderr: {said}' if said else '.'}"
            )


def last_line(tail: Any) -> str:
    """The last line of ``tail`` that says something, shortened; empty when there is none."""
    lines = [
        line.strip() for line in str(tail or "").splitlines() if any(map(str.isalnum, line))
    ]  # no frame around a message
    if not lines:
        return ""
    text = lines[-1]
    return text if len(text) <= _LINE_CHARS else f"{text[:_LINE_CHARS]}…"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signals.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
