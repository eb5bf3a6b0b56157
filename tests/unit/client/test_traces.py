"""Accounts of other programs are read as they are written, and what says nothing is left out."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from packhorse.client.traces import form_of, moment_of, nextflow_rows, sacct_rows, seconds_of, size_of
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.history import HistoryRow

SACCT = """JobID|JobName|Partition|State|ElapsedRaw|TotalCPU|MaxRSS|ReqMem|AllocCPUS|NNodes|TimelimitRaw|End
11|align|main|COMPLETED|100|00:03:20||4G|4|2|60|2026-01-02T03:04:05
11.batch|batch||COMPLETED|100|00:01:40|1500M||4|1||2026-01-02T03:04:05
11.0|align||COMPLETED|90|00:01:40|2000000K||4|2||2026-01-02T03:04:05
12|align|main|CANCELLED by 1000|5|00:00.5||2000Mc|2|1|60|2026-01-02T03:05:05
13|align|main|OUT_OF_MEMORY|7|00:00.5||1Gn|1|1|60|2026-01-02T03:05:05
13.batch|batch||OUT_OF_MEMORY|7|00:00.5|1048576K||1|1||2026-01-02T03:05:05
14|align|main|RUNNING|7|00:00.5||1G|1|1|60|Unknown
15|align|main|SOMETHING_NEW|7|00:00.5||1G|1|1|60|2026-01-02T03:05:05
"""
NEXTFLOW = """task_id\thash\tname\tstatus\texit\tsubmit\trealtime\t%cpu\tpeak_rss\trchar\twchar\tmemory\tcpus\ttime
1\tab/1\tALIGN (s1)\tCOMPLETED\t0\t2026-01-02 03:04:05.123\t1m 30s\t150.0%\t1.5 GB\t10 MB\t2 MB\t8 GB\t4\t1h
2\tab/2\tALIGN (s2)\tFAILED\t137\t1767323045123\t90000\t50.0%\t1610612736\t10\t0\t8589934592\t4\t3600000
3\tab/3\tALIGN (s3)\tABORTED\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-
"""


def rows_of(text: str, delimiter: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def test_jobs_of_slurm_with_what_their_steps_used() -> None:
    found = list(sacct_rows(rows_of(SACCT, "|"), None, "cluster"))
    assert [row is None for row in found] == [False, False, False, True, True]
    done, canceled, killed = (row for row in found if row is not None)
    assert (done.app, done.site, done.failure, done.nodes, done.cores) == ("align", "cluster", None, 2, 2)
    assert done.peak_memory == 2_000_000 * 1024, "the most of one step"
    assert (done.wall_s, done.cpu_s, done.walltime_s) == (100, 200, 3600)
    assert done.memory_mb == pytest.approx(4 * 1024**3 / 1e6)
    assert (canceled.failure, canceled.time_censored) == ("canceled", True)
    assert canceled.memory_mb == pytest.approx(2 * 2000 * 1024**2 / 1e6), "for each core"
    assert (killed.failure, killed.memory_censored, killed.peak_memory) == ("out_of_memory", True, 1024**3)


def test_tasks_of_nextflow_raw_and_as_people_read_them() -> None:
    found = list(nextflow_rows(rows_of(NEXTFLOW, "\t"), None, ""))
    assert found[2] is None
    read, raw = (row for row in found if row is not None)
    for row in (read, raw):
        assert (row.app, row.wall_s, row.walltime_s, row.cores) == ("ALIGN", 90, 3600, 4)
        assert row.peak_memory == 1610612736 and row.memory_mb == pytest.approx(8589.934592)
    assert (read.failure, read.cpu_s, read.read_bytes) == (None, 135, 10 * 1024**2)
    assert (raw.failure, raw.memory_censored) == ("out_of_memory", True)


def test_all_of_a_file_may_be_tasks_of_one_app() -> None:
    row = next(nextflow_rows(rows_of(NEXTFLOW, "\t"), "mine", "there"))
    assert row is not None and (row.app, row.step, row.site) == ("mine", "ALIGN", "there")


@pytest.mark.parametrize(
    ("text", "size"),
    [("1.5G", 1610612736), ("1.5 GB", 1610612736), ("4000Mn", 4194304000), ("12", 12), ("-", None), ("", None),
     ("1e400", None), ("..", None), ("12 apples", None)],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93784), ("03:04.5", 184.5), ("1h 2m 3s", 3723), ("250ms", 0.25), ("-", None), ("", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_moments() -> None:
    assert moment_of("1767323045123") == 1767323045.123
    assert moment_of("2026-01-02T03:04:05") is not None
    assert moment_of("Unknown") is None


@pytest.mark.parametrize("columns", [[], ["JobID"], ["a", "b"]])
def test_a_file_of_nobody_is_refused(columns: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="no history"):
        form_of(columns)


cells = st.one_of(st.text(max_size=12), st.sampled_from(["1" * 400, "1e999", "-1", "inf", "nan", "0x1", "1G", "1:1:1"]))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*SACCT.split("\n")[0].split("|"), *NEXTFLOW.split("\n")[0].split("\t")]), cells
        )
    )
)
@example([{}, {"JobID": "."}])
def test_whatever_stands_there_is_a_row_or_left_out(rows: list[dict[str, str]]) -> None:
    read = [*sacct_rows(rows, None, ""), *nextflow_rows(rows, None, "")]
    assert all(row is None or HistoryRow.model_validate(row.model_dump()) == row for row in read)
