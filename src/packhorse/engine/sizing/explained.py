"""What was decided for a task, as it is stored and told. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from packhorse.domain.resources import Resources
from packhorse.domain.text import kept_json
from packhorse.estimate.decisions import Decision, Estimate


def explained(decision: Decision | None, asked: Resources, granted: Resources, why: str) -> str:
    """JSON: by quantity what was ``asked``, what was ``granted`` in the end (by the ladder, within limits), and the
    estimate; ``why`` says what is true of all of it.
    """
    told: dict[str, Any] = {"why": why}
    estimates = (None, None) if decision is None else (decision.memory_mb, decision.walltime_s)
    amounts = (
        ("memory_mb", asked.memory_mb, granted.memory_mb),
        ("walltime_s", asked.walltime_s, granted.walltime_s),
    )
    for (name, before, after), estimate in zip(amounts, estimates, strict=True):
        if before is not None or after is not None:
            told[name] = {"asked": before, "granted": after, **_rounded(estimate)}
    return kept_json(told)


def _rounded(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    values = asdict(estimate)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
