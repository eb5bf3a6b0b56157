"""The same jobs in the JSON of five versions."""

from __future__ import annotations

import pytest

from packhorse.sites.base import JobState
from packhorse.sites.schedulers.slurm_json import parse_sacct_json, parse_squeue_json
from packhorse.sites.schedulers.slurm_text import parse_sacct, parse_squeue

from .recorded import text

P, R, E, U = JobState.PENDING, JobState.RUNNING, JobState.ENDED, JobState.UNKNOWN


@pytest.mark.parametrize("version", ["23.02", "24.05"])
def test_squeue_of_newer_versions(version: str) -> None:
    running, failed, pending = parse_squeue_json(text(f"documented/squeue-{version}.json"))[:3]
    assert (running.job_id, running.name, running.place, running.nodes) == ("560", "a-01", R, "c[31-32]")
    assert (running.started_at, running.ended_at) == (1705313394.0, None)  # when it is to end is not when it ended
    assert (failed.place, failed.exit_code, failed.signal, failed.ended_at) == (E, 7, None, 1705313400.0)
    assert (pending.place, pending.reason, pending.started_at) == (P, "Priority", None)


def test_several_states_at_once() -> None:
    rows = {row.job_id: row for row in parse_squeue_json(text("documented/squeue-24.05.json"))}
    assert (rows["563"].place, rows["563"].says, rows["563"].signal) == (R, "CANCELLED+COMPLETING", 15)
    assert (rows["564"].place, rows["564"].reason) == (P, "BeginTime")
    assert (rows["565"].place, rows["565"].says) == (U, "HIBERNATING")


def test_sacct_of_newer_versions() -> None:
    killed, memory, completed = parse_sacct_json(text("documented/sacct-25.05.json"))
    assert (killed.place, killed.exit_code, killed.signal, killed.ended_at) == (E, None, 9, 1705313400.0)
    assert (memory.says, memory.signal) == ("OUT_OF_MEMORY", None)
    assert (completed.exit_code, completed.nodes) == (0, "")


def test_json_and_text_of_a_real_cluster_agree() -> None:
    """22.05 printed both at the same time."""
    told = {row.job_id: row for row in parse_squeue(text("squeue-4.txt"))}
    rows = parse_squeue_json(text("squeue-22.05.json"))
    assert rows
    for row in rows:
        assert (row.name, row.place, row.nodes, row.exit_code, row.signal, row.started_at) == (
            told[row.job_id].name,
            told[row.job_id].place,
            told[row.job_id].nodes,
            told[row.job_id].exit_code,
            told[row.job_id].signal,
            told[row.job_id].started_at,
        )


def test_json_and_text_of_real_accounting_agree() -> None:
    told: dict[str, list[tuple[object, ...]]] = {}
    for row in parse_sacct(text("sacct-2.txt")):
        # its JSON has no exit codes but 0, not even for a job that failed
        told.setdefault(row.job_id, []).append(
            (row.place, row.exit_code or None, row.signal, row.started_at, row.ended_at)
        )
    rows = parse_sacct_json(text("sacct-22.05.json"))
    assert {row.says for row in rows} >= {"FAILED", "OUT_OF_MEMORY", "TIMEOUT", "PREEMPTED", "CANCELLED"}
    assert next(row for row in rows if row.name == "ph-exit7").exit_code is None
    for row in rows:
        code = None if row.name == "ph-exit7" else row.exit_code or None
        expected = [(place, None if row.name == "ph-exit7" else was, *rest) for place, was, *rest in told[row.job_id]]
        assert (row.place, code, row.signal, row.started_at, row.ended_at) in expected
