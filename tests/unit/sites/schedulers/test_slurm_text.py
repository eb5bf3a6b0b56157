"""Parsing, on what a real cluster printed and on lines after the documented formats of newer versions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.sites.base import JobState
from packhorse.sites.schedulers import slurm_describe
from packhorse.sites.schedulers.slurm_rows import Row, split_wait_status
from packhorse.sites.schedulers.slurm_text import (
    is_full,
    own_words,
    parse_exit_code,
    parse_minutes,
    parse_sacct,
    parse_squeue,
    parse_submitted,
    parse_time,
    passes,
)

from .recorded import TEXTS, result, text

P, R, E, U = JobState.PENDING, JobState.RUNNING, JobState.ENDED, JobState.UNKNOWN


def by_name(rows: list[Row]) -> dict[str, Row]:
    """The last row of each name."""
    return {row.name: row for row in rows}


@pytest.mark.parametrize(
    ("name", "state", "says", "exit_code", "signal", "reason"),
    [
        ("ph-ok", E, "COMPLETED", 0, None, ""),
        ("ph-exit7", E, "FAILED", 7, None, "NonZeroExitCode"),
        ("ph-signal", E, "FAILED", None, 9, "JobLaunchFailure"),  # so says 22.05 of a script that was killed
        ("ph-memory", E, "OUT_OF_MEMORY", None, None, "OutOfMemory"),  # its 'signal' 125 is none
        ("ph-memory-step", E, "FAILED", 1, None, "NonZeroExitCode"),
        ("ph-canceled", E, "CANCELLED", None, 15, ""),
        ("ph-canceled-waiting", E, "CANCELLED", 0, None, "JobHeldUser"),
        ("ph-preempted", E, "PREEMPTED", None, 15, ""),
        ("ph-preempted-requeue", P, "PENDING", 0, None, "BeginTime"),
        ("ph-requeued", P, "PENDING", 0, None, "BeginTime"),
        ("ph-requeue-held", P, "SPECIAL_EXIT", 0, None, "job requeued in held state"),
        ("ph-suspended", R, "SUSPENDED", 0, None, ""),
        ("ph-busy", R, "RUNNING", 0, None, ""),
        ("ph-license", P, "PENDING", 0, None, "Licenses"),
        ("ph-qos", P, "PENDING", 0, None, "QOSMaxJobsPerUserLimit"),
        ("ph-held", P, "PENDING", 0, None, "JobHeldUser"),
        ("ph-held-admin", P, "PENDING", 0, None, "JobHeldAdmin"),
        ("ph-begin", P, "PENDING", 0, None, "BeginTime"),
        ("ph-after", P, "PENDING", 0, None, "Dependency"),
        ("ph-partition-down", P, "PENDING", 0, None, "PartitionDown"),
    ],
)
def test_squeue_of_a_real_cluster(
    name: str, state: JobState, says: str, exit_code: int | None, signal: int | None, reason: str
) -> None:
    row = by_name(parse_squeue(text("squeue-1.txt")))[name]
    assert (row.state, row.says, row.exit_code, row.signal, row.reason) == (state, says, exit_code, signal, reason)
    assert (row.ended_at is not None) is (state is E)
    assert (row.started_at is not None) is bool(row.nodes)


def test_a_job_that_is_completing_has_not_ended() -> None:
    assert by_name(parse_squeue(text("squeue-2.txt")))["ph-completing"].state is R


@pytest.mark.parametrize("name", ["ph-node-down", "ph-node-lost"])
def test_squeue_of_lost_nodes(name: str) -> None:
    row = by_name(parse_squeue(text("squeue-3.txt")))[name]
    assert (row.state, row.says, row.reason) == (E, "NODE_FAIL", "NodeDown")


@pytest.mark.parametrize(
    ("name", "state", "says", "exit_code", "signal"),
    [
        ("ph-ok", E, "COMPLETED", 0, None),
        ("ph-exit7", E, "FAILED", 7, None),
        ("ph-signal", E, "FAILED", None, 9),
        ("ph-memory", E, "OUT_OF_MEMORY", None, None),
        (
            "ph-memory-step",
            E,
            "FAILED",
            1,
            None,
        ),  # of the step that ran out of memory, the job only says that it failed
        ("ph-timeout", E, "TIMEOUT", 0, None),
        ("ph-deadline", E, "DEADLINE", 1, None),
        ("ph-canceled", E, "CANCELLED by 0", 0, None),
        ("ph-preempted", E, "PREEMPTED", 0, None),
        ("ph-node-down", E, "NODE_FAIL", 0, None),
        ("ph-node-lost", E, "NODE_FAIL", 0, None),
    ],
)
def test_sacct_of_a_real_cluster(
    name: str, state: JobState, says: str, exit_code: int | None, signal: int | None
) -> None:
    row = by_name(parse_sacct(text("sacct-2.txt")))[name]
    assert (row.state, row.says, row.exit_code, row.signal) == (state, says, exit_code, signal)
    assert row.ended_at is not None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ph-requeued", ["REQUEUED", "PENDING"]),
        ("ph-preempted-requeue", ["PREEMPTED", "PENDING"]),
    ],
)
def test_the_last_row_of_a_requeued_job_is_the_current_one(name: str, says: list[str]) -> None:
    assert [row.says for row in parse_sacct(text("sacct-1.txt")) if row.name == name] == says


def test_squeue_of_newer_versions() -> None:
    rows = {row.job_id: row for row in parse_squeue(text("documented/squeue-25.05.txt"))}
    assert {job_id: row.state for job_id, row in rows.items()} == {
        "7001": R,
        "7002": P,
        "7003": P,
        "7004": P,
        "7005": R,
        "7006": R,
        "7007": E,
        "7008": P,
        "7009": U,
        "7010": P,
        "7012": R,
        "7013": P,
    }
    assert rows["7002"].reason == "ReqNodeNotAvail, UnavailableNodes:nid[001001-001004]"
    assert (rows["7007"].signal, rows["7007"].reason) == (9, "RaisedSignal:9(Killed)")
    assert rows["7009"].says == "HIBERNATING"
    assert rows["7012"].name == "a|name|with bars"


def test_sacct_of_newer_versions() -> None:
    rows = {row.job_id: row for row in parse_sacct(text("documented/sacct-25.05.txt"))}
    assert {job_id: row.state for job_id, row in rows.items()} == {
        "7101": E, "7102": E, "7103": E, "7104": E, "7105": E, "7106": E, "7107": E, "7108": E, "7110": R,
    }  # fmt: skip
    assert (rows["7102"].says, rows["7102"].signal) == ("CANCELLED by 40021", 15)
    assert rows["7103"].started_at is None
    assert (rows["7105"].says, rows["7105"].nodes) == ("COMPLETED", "nid001002")
    assert rows["7108"].signal is None


@pytest.mark.parametrize(
    ("name", "words", "full"),
    [
        ("account", "Batch job submission failed: Invalid account or account/partition combination specified", False),
        ("partition", "Invalid partition name specified", False),
        ("qos", "Invalid qos specification", False),
        ("constraint", "Invalid feature specification", False),
        ("time", "Requested time limit is invalid", False),
        ("memory", "Memory specification can not be satisfied; Batch job submission failed", False),
        ("cores", "More processors requested than permitted", False),
        ("nodes", "Node count specification invalid", False),
        ("qos-nodes", "QOSMaxNodePerJobLimit", False),
        ("license", "Invalid license specification", False),
        ("gpus", "Requested node configuration is not available", False),
        ("option", "unrecognized option", False),
        ("full", "QOSMaxSubmitJobPerUserLimit", True),
    ],
)
def test_a_refusal_in_slurms_own_words(name: str, words: str, full: bool) -> None:
    refused = result(f"sbatch-refused-{name}")
    assert refused.exit_code != 0
    said = own_words(refused.stderr)
    assert words in said
    assert not said.startswith("sbatch")
    assert not passes(said)
    assert is_full(said) is full


@pytest.mark.parametrize(
    "name",
    [
        "sbatch-without-slurmctld",
        "squeue-without-slurmctld",
        "scancel-without-slurmctld",
        "sacct-without-slurmdbd",
        "sbatch-without-munged",
        "squeue-without-munged",
    ],
)
def test_what_is_away_does_not_refuse(name: str) -> None:
    away = result(name)
    assert away.exit_code != 0
    assert passes(own_words(away.stderr))


@pytest.mark.parametrize(
    ("printed", "job_id"),
    [
        ("123\n", "123"),
        ("123;perlmutter\n", "123"),
        ("Welcome!\n123\n", "123"),
        ("", None),
        ("Submitted batch job\n", None),
        ("12a\n", None),
    ],
)
def test_the_id_of_a_submission(printed: str, job_id: str | None) -> None:
    assert parse_submitted(printed) == job_id


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        ("0:0", (0, None)),
        ("7:0", (7, None)),
        ("0:9", (None, 9)),
        ("1:15", (None, 15)),
        ("0:125", (None, None)),
        ("1792", (7, None)),
        ("9", (None, 9)),
        ("253", (None, None)),
        ("", (None, None)),
        ("N/A", (None, None)),
        ("999999999", (None, None)),
    ],
)
def test_exit_codes(printed: str, code: tuple[int | None, int | None]) -> None:
    assert parse_exit_code(printed) == code


@pytest.mark.parametrize(
    ("printed", "seconds"),
    [
        ("UNLIMITED", None),
        ("NONE", None),
        ("n/a", None),
        ("30", 1800),
        ("05:30", 330),
        ("01:00:00", 3600),
        ("2-00:00:00", 172800),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("", None),
        ("-1", None),
    ],
)
def test_time_limits(printed: str, seconds: float | None) -> None:
    assert parse_minutes(printed) == seconds


@pytest.mark.parametrize("printed", ["", "0", "N/A", "Unknown", "None", "2026-01-01T00:00:00", "-5", "1" * 40])
def test_what_is_no_time_is_none(printed: str) -> None:
    assert parse_time(printed) is None


@given(st.integers())
def test_a_wait_status_is_a_code_or_a_signal_or_neither(status: int) -> None:
    code, signal = split_wait_status(status)
    assert code is None or signal is None
    assert code is None or 0 <= code <= 255


PARSERS: list[Callable[[str], object]] = [
    parse_squeue, parse_sacct, parse_submitted, own_words, passes, is_full, parse_exit_code, parse_time, parse_minutes,
    slurm_describe.parse_pairs, slurm_describe.parse_config, slurm_describe.parse_node_kinds,
    lambda text: slurm_describe.parse_queues(text, {}), lambda text: slurm_describe.describe(text, text, text),
]  # fmt: skip


@given(st.text())
def test_no_parser_raises_on_any_text(printed: str) -> None:
    for parse in PARSERS:
        parse(printed)


@given(
    st.lists(st.lists(st.text("0123456789|:-=.,()[]* RUNINGCOMPLETEDnx²٣"), min_size=6, max_size=9).map("|".join)).map(
        "\n".join
    )
)
def test_no_parser_raises_on_what_looks_like_rows(printed: str) -> None:
    for parse in PARSERS:
        parse(printed)


@given(st.sampled_from(TEXTS), st.data())
def test_no_parser_raises_on_cut_or_damaged_output(name: str, data: st.DataObject) -> None:
    printed = text(name)[:20_000]
    start = data.draw(st.integers(0, len(printed)))
    cut = data.draw(st.integers(0, 40))
    damaged = printed[:start] + data.draw(st.text(max_size=5)) + printed[start + cut :]
    for parse in PARSERS:
        parse(damaged)
