"""Results of tasks as journals have them: whether they can be kept, and how the store keeps them. Pure."""

from __future__ import annotations

from typing import Any

from packhorse.domain.text import is_plain, kept_json, value_problem
from packhorse.engine.collecting.journal import Record


def judged(record: Record, is_json: bool) -> Record:
    """An ``end`` whose result can be kept, or that of a task that failed for its result: what a journal says need not
    be our agent's.
    """
    result = record.get("result")
    if result is None or (is_plain(result) and (isinstance(result, str) or is_json)):
        return record
    if not is_json:
        why = "it is no text" if not isinstance(result, str) else value_problem(result, "it")
    else:
        why = value_problem(result)
    if why is None:
        return record
    failed = {} if record.get("why") else {"why": "result", "msg": f"the result cannot be kept: {why}"}
    return {**record, **failed, "result": None}


def stored_result(result: Any, is_json: bool) -> str | None:
    """A result as the store keeps it: JSON again, or text."""
    if result is None:
        return None
    return kept_json(result) if is_json else str(result)
