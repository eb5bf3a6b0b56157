"""Accounts of other programs as history: Slurm's ``sacct --parsable2`` and traces of Nextflow. Pure.

A row that is no ended attempt, or says nothing of what it used, is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.failures import FailureClass
from packhorse.domain.history import HistoryRow

Row = Mapping[str, Any]

_CUT_SHORT = frozenset(
    {
        FailureClass.OUT_OF_MEMORY,
        FailureClass.OUT_OF_TIME,
        FailureClass.NODE_LOST,
        FailureClass.PREEMPTED,
        FailureClass.CANCELED,
    }
)
_STATES: dict[str, FailureClass | None] = {
    "COMPLETED": None,
    "FAILED": FailureClass.APP,
    "OUT_OF_MEMORY": FailureClass.OUT_OF_MEMORY,
    "TIMEOUT": FailureClass.OUT_OF_TIME,
    "DEADLINE": FailureClass.OUT_OF_TIME,
    "CANCELLED": FailureClass.CANCELED,
    "NODE_FAIL": FailureClass.NODE_LOST,
    "BOOT_FAIL": FailureClass.NODE_LOST,
    "PREEMPTED": FailureClass.PREEMPTED,
}
_EXITS = {137: FailureClass.OUT_OF_MEMORY, 140: FailureClass.OUT_OF_TIME}  # what Nextflow's users see
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SIZE = re.compile(r"([0-9.]+)\s*([KMGTP]?)i?B?([cn]?)", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_WORDS = re.compile(r"([0-9.]+)\s*(ms|d|h|m|s)")
_WORD_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

#: What a table of Slurm's accounting must have, and what one of Nextflow.
SACCT_COLUMNS = ("JobID", "State")
NEXTFLOW_COLUMNS = ("realtime", "status")


def size_of(text: str, *, unit: str = "") -> int | None:
    """Bytes of ``1.5G``, ``1.5 GB`` or ``4000Mn``, of 1024; a bare number is in ``unit``. None where it is none."""
    found = _SIZE.fullmatch(text.strip())
    try:
        return None if found is None else round(float(found[1]) * 1024 ** _UNITS[found[2].upper() or unit])
    except (ValueError, OverflowError):
        return None


def seconds_of(text: str) -> float | None:
    """Seconds of ``1-02:03:04``, ``03:04.5`` or ``1h 2m 3s``; None where it is none."""
    text = text.strip()
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    parts = _WORDS.findall(text)
    try:
        return sum(float(number) * _WORD_S[unit] for number, unit in parts) if parts else None
    except ValueError:
        return None


def moment_of(text: str) -> float | None:
    """Seconds since the epoch of a time as both write it, or of milliseconds; None where it is none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text[:16]) / 1000
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def sacct_rows(rows: Iterable[Row], app: str | None, site: str) -> Iterator[HistoryRow | None]:
    """Jobs of ``sacct --parsable2``: what a job used is what its steps used, which follow it."""
    job: dict[str, str] | None = None
    for row in rows:
        told = {name: str(value or "") for name, value in row.items() if name}
        identity = told.get("JobID", "")
        if "." in identity:
            if job is not None and identity.partition(".")[0] == job.get("JobID"):
                _add_step(job, told)
            continue
        if job is not None:
            yield _of_job(job, app, site)
        job = told
    if job is not None:
        yield _of_job(job, app, site)


def _add_step(job: dict[str, str], step: Mapping[str, str]) -> None:
    for name in ("MaxRSS", "MaxDiskRead", "MaxDiskWrite"):
        before, more = size_of(job.get(name, "")) or 0, size_of(step.get(name, "")) or 0
        if more > before:
            job[name] = step[name]


def _of_job(job: Mapping[str, str], app: str | None, site: str) -> HistoryRow | None:
    words = job.get("State", "").split()
    state = words[0].rstrip("+") if words else ""
    wall_s = _number(job.get("ElapsedRaw", "")) or seconds_of(job.get("Elapsed", ""))
    ended_at = moment_of(job.get("End", ""))
    if state not in _STATES or wall_s is None or ended_at is None:
        return None
    nodes = int(_number(job.get("NNodes", "")) or 1)
    cores = _number(job.get("AllocCPUS", "")) or _number(job.get("ReqCPUS", ""))
    minutes = _number(job.get("TimelimitRaw", ""))
    wanted = job.get("ReqMem", "")
    memory = size_of(wanted, unit="M")
    if memory is not None and wanted.endswith("c") and cores:
        memory = round(memory * cores)
    return _row(
        app or job.get("JobName", ""), site or job.get("Cluster", ""), _STATES[state], ended_at, wall_s,
        step=job.get("Partition", "") if app else "",
        nodes=nodes,
        cores=None if cores is None else cores / nodes,
        memory=memory,
        walltime_s=60 * minutes if minutes is not None else seconds_of(job.get("Timelimit", "")),
        peak_memory=size_of(job.get("MaxRSS", "")),
        cpu_s=seconds_of(job.get("TotalCPU", "")),
        read_bytes=size_of(job.get("MaxDiskRead", "")),
        write_bytes=size_of(job.get("MaxDiskWrite", "")),
    )  # fmt: skip


def nextflow_rows(rows: Iterable[Row], app: str | None, site: str) -> Iterator[HistoryRow | None]:
    """Tasks of a trace of Nextflow, with numbers raw (milliseconds, bytes) or as people read them."""
    for row in rows:
        yield _of_task({name: str(value or "") for name, value in row.items() if name}, app, site)


def _of_task(task: Mapping[str, str], app: str | None, site: str) -> HistoryRow | None:
    status = task.get("status", "")
    wall_s = _raw_s(task.get("realtime", ""))
    ended_at = moment_of(task.get("complete", "")) or moment_of(task.get("submit", ""))
    if status not in ("COMPLETED", "FAILED") or wall_s is None or ended_at is None:
        return None
    exit_code = int(_number(task.get("exit", "")) or 0)
    failure = None if status == "COMPLETED" else _EXITS.get(exit_code, FailureClass.APP)
    process = task.get("process") or task.get("name", "").partition(" (")[0]
    share = _number(task.get("%cpu", "").rstrip("%"))
    return _row(
        app or process, site, failure, ended_at, wall_s,
        step=process if app else "",
        attempt=int(_number(task.get("attempt", "")) or 1),
        cores=_number(task.get("cpus", "")),
        memory=size_of(task.get("memory", "")),
        walltime_s=_raw_s(task.get("time", "")),
        peak_memory=size_of(task.get("peak_rss", "")),
        cpu_s=None if share is None else wall_s * share / 100,
        read_bytes=size_of(task.get("rchar", "")),
        write_bytes=size_of(task.get("wchar", "")),
    )  # fmt: skip


def _row(app: str, site: str, failure: FailureClass | None, ended_at: float, wall_s: float, **used: Any) -> (
    HistoryRow | None
):  # fmt: skip
    memory = used.pop("memory")
    memory_mb = None if memory is None else memory / 1e6
    granted = {"cores": used.pop("cores"), "memory_mb": memory_mb, "walltime_s": used.pop("walltime_s")}
    cut_short = failure in _CUT_SHORT
    try:
        return HistoryRow(
            ended_at=ended_at, app=app[:300], site=site[:64], failure=failure, wall_s=wall_s, executor="elsewhere",
            asked_cores=granted["cores"], asked_memory_mb=memory_mb, asked_walltime_s=granted["walltime_s"],
            memory_censored=cut_short, time_censored=cut_short, **granted, **used,
        )  # fmt: skip
    except ValidationError:  # numbers out of all proportion, or no name
        return None


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if 0 <= found < 1e15 else None


def _raw_s(text: str) -> float | None:
    """Seconds, of milliseconds or of words."""
    milliseconds = _number(text)
    return milliseconds / 1000 if milliseconds is not None else seconds_of(text)


def form_of(columns: Iterable[str]) -> str:
    """Which program wrote a table with these columns. Raises InvalidRequest where none is known."""
    found = set(columns)
    for form, needed in (("sacct", SACCT_COLUMNS), ("nextflow", NEXTFLOW_COLUMNS), ("packhorse", ("ended_at", "app"))):
        if found.issuperset(needed):
            return form
    raise InvalidRequest(
        "The file is no history: its columns are those of no program that is known.",
        hint=(
            "It is an export of Packhorse, 'sacct --parsable2 --format=JobID,JobName,State,ElapsedRaw,TotalCPU,MaxRSS,"
            "ReqMem,AllocCPUS,NNodes,TimelimitRaw,End', or a trace of Nextflow."
        ),
    )
