"""The TES 1.1 document of a task, rendered from what its step and its attempts say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.failures import FailureClass
from packhorse.domain.states import TERMINAL
from packhorse.domain.tes import View
from packhorse.domain.text import dumps, holdable_value
from packhorse.domain.views import AttemptView, ExecutorView
from packhorse.engine.steps.base import Step

_NOT_STARTED = 127

#: (attempt, 'stdout' or 'stderr', where it begins, where it ends in that stream) → its text.
Output = Callable[[int, str, int, int | None], str]


def tes_document(
    row: Any,
    step: Step,
    created_at: float,
    attempts: Sequence[AttemptView],
    view: View = View.FULL,
    output: Output | None = None,
) -> dict[str, Any]:
    """What TES shows of a task. ``output`` reads what its executors printed; without it, that is left out."""
    document = step.document(row)
    name = document.get("name")
    if (cores := (document.get("resources") or {}).get("cpu_cores")) is not None and cores == int(cores):
        document["resources"] = {**document["resources"], "cpu_cores": int(cores)}  # clients of TES take no other
    document |= {
        "id": step.row.public_id(row.id),
        "state": row.state,
        "name": name if name is not None or row.owner is not None else row.name,
        "tags": {**step.spec.tags, **(document.get("tags") or {})} or None,
        "creation_time": rfc3339(created_at),
        "logs": _logs(row, attempts, output),
    }
    if view is View.FULL:
        _add_system_logs(document["logs"], row, attempts)
    else:
        document["inputs"] = [
            {key: value for key, value in item.items() if key != "content"} for item in document.get("inputs") or ()
        ] or None
    return dict(holdable_value({key: value for key, value in document.items() if value is not None}))


def _logs(row: Any, attempts: Sequence[AttemptView], output: Output | None) -> list[dict[str, Any]]:
    """One for each attempt; also for one that runs, and for a task that ended without any."""
    logs = [_log(attempt, output) for attempt in attempts]
    if row.state not in TERMINAL and row.started_at is not None and row.attempt > len(attempts):
        logs.append({"logs": [], "outputs": [], "start_time": rfc3339(row.started_at)})
    return logs


def _log(attempt: AttemptView, output: Output | None) -> dict[str, Any]:
    said = ("site", "allocation", "job_id", "node", "image")
    log = {
        "logs": [_executor_log(attempt, one, output) for one in executors_of(attempt)],
        "start_time": rfc3339(attempt.started_at),
        "end_time": rfc3339(attempt.ended_at),
        "metadata": {name: value for name in said if (value := getattr(attempt, name))},
        "outputs": [
            {"url": file.get("url", file["path"]), "path": file["path"], "size_bytes": str(file.get("size", 0))}
            for file in attempt.files
        ],
    }
    return {name: value for name, value in log.items() if value is not None}


def executors_of(attempt: AttemptView) -> Sequence[ExecutorView]:
    """How the executors of an attempt ended that were started; of a single one, as the attempt did. One that could not
    be started has the exit code that a shell gives.
    """
    code = attempt.exit_code
    if code is None and attempt.signal is None and attempt.failure == FailureClass.APP:
        code = _NOT_STARTED
    if attempt.executors or (code is None and attempt.signal is None):
        return attempt.executors
    return [
        ExecutorView(
            exit_code=code,
            signal=attempt.signal,
            started_at=attempt.started_at or attempt.ended_at,
            ended_at=attempt.ended_at,
        )
    ]


def _executor_log(attempt: AttemptView, one: ExecutorView, output: Output | None) -> dict[str, Any]:
    log: dict[str, Any] = {"start_time": rfc3339(one.started_at), "end_time": rfc3339(one.ended_at)}
    log["exit_code"] = one.exit_code if one.exit_code is not None else 128 + (one.signal or 0)
    if output is not None:
        for stream, place, kept in (("stdout", one.stdout, one.stdout_tail), ("stderr", one.stderr, one.stderr_tail)):
            log[stream] = kept if kept is not None else output(attempt.attempt, stream, *(place or (0, None)))
    return log


def _add_system_logs(logs: list[dict[str, Any]], row: Any, attempts: Sequence[AttemptView]) -> None:
    """What the system has to say: why attempts failed, why a task that was never tried did, and what was left out."""
    for log, attempt in zip(logs, attempts, strict=False):
        evidence = attempt.evidence or {}
        told = [str(evidence["message"])] if evidence.get("message") else []
        log["system_logs"] = [*told, dumps(evidence)] if evidence else []
    warnings = json.loads(row.params).get("warnings") or [] if row.owner is not None else []
    own = [*warnings, *([row.reason] if row.reason and not attempts else [])]
    if own and not logs:
        logs.append({"logs": [], "outputs": []})
    if own:
        logs[0]["system_logs"] = [*own, *logs[0].get("system_logs", [])]


def rfc3339(at: float | None) -> str | None:
    """A time as TES wants it."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
