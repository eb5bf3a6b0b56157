"""Reads ``squeue --json`` and ``sacct --json`` of Slurm 21.08 to 25.05.

Never raises: what it does not understand is left out.

Their shapes differ: a number may be a number, ``{"set", "infinite", "number"}`` or an object of its own, a state a word
or a list.
"""

from __future__ import annotations

import json
from typing import Any

from packhorse.sites.schedulers.slurm_rows import Row, as_signal, split_wait_status, without_forecasts
from packhorse.sites.schedulers.slurm_text import parse_time

_NOTHING = frozenset({"", "None", "None assigned"})


def parse_squeue_json(text: str) -> list[Row]:
    """The jobs of ``squeue --json``."""
    return [row for job in _jobs(text) if (row := _queued(job)) is not None]


def parse_sacct_json(text: str) -> list[Row]:
    """The jobs of ``sacct --json``, without their steps."""
    return [row for job in _jobs(text) if (row := _accounted(job)) is not None]


def _jobs(text: str) -> list[dict[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    jobs = document.get("jobs") if isinstance(document, dict) else None
    return [job for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []


def _queued(job: dict[str, Any]) -> Row | None:
    return _row(job, job.get("job_state"), job.get("state_reason"), job.get("start_time"), job.get("end_time"))


def _accounted(job: dict[str, Any]) -> Row | None:
    state, time = _object(job.get("state")), _object(job.get("time"))
    return _row(job, state.get("current"), state.get("reason"), time.get("start"), time.get("end"))


def _row(job: dict[str, Any], state: Any, reason: Any, start: Any, end: Any) -> Row | None:
    job_id = _number(job.get("job_id"))
    states = tuple(word.upper() for word in (state if isinstance(state, list) else [state]) if isinstance(word, str))
    if job_id is None or job_id <= 0 or not states:
        return None
    exit_code, signal = _exit(job.get("exit_code"))
    if exit_code == 0 and "FAILED" in states:
        exit_code = None  # sacct --json of 22.05 says 0 of every exit code
    times = parse_time(str(_number(start))), parse_time(str(_number(end)))
    says, nodes = "+".join(states), _text(job.get("nodes"))
    return without_forecasts(
        Row(str(job_id), _text(job.get("name")), states, says, _text(reason), exit_code, signal, nodes, *times)
    )


def _exit(value: Any) -> tuple[int | None, int | None]:
    """(exit code, signal): a wait status up to 23.02, an object with both since."""
    if isinstance(value, dict) and "return_code" in value:
        signal = _object(value.get("signal"))
        number = _number(signal.get("id", signal.get("signal_id")))
        return (None, as_signal(number)) if number else (_number(value["return_code"]), None)
    status = _number(value)
    return (None, None) if status is None else split_wait_status(status)


def _number(value: Any) -> int | None:
    if isinstance(value, dict):
        value = value.get("number") if value.get("set", True) and not value.get("infinite") else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 18:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value not in _NOTHING else ""
