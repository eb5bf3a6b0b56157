"""How each of several executors of an attempt ended, from what a journal says to what the store keeps. Pure."""

from __future__ import annotations

from typing import Any

from packhorse.domain.text import holdable, kept_json
from packhorse.engine.collecting.journal import Record

_MOST = 10_000  # of one attempt; more are no executors of a task
_TAIL = 4096  # characters


def kept_executors(record: Record) -> str | None:
    """JSON for ``domain.views.ExecutorView``; None where the record tells of none, or nothing that makes sense."""
    steps = record.get("steps")
    if not isinstance(steps, list) or not 0 < len(steps) <= _MOST:
        return None
    try:
        return kept_json([_kept(step) for step in steps])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _kept(step: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {
        "exit_code": _code(step.get("exit")),
        "signal": _code(step.get("sig")),
        "started_at": _time(step["t0"]),
        "ended_at": _time(step["t1"]),
    }
    for name, stream in (("out", "stdout"), ("err", "stderr")):
        if step.get(name) is not None:
            begin, end = (int(place) for place in step[name])
            kept[stream] = [max(0, begin), max(0, end)]
        if isinstance(step.get(f"{name}_tail"), str):
            kept[f"{stream}_tail"] = holdable(step[f"{name}_tail"])[-_TAIL:]
    return kept


def _code(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError("that is no exit code")
    return value


def _time(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e11:
        raise ValueError("that is no time")
    return float(value)
