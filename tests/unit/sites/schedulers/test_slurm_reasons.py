"""Why a job waits, in plain English."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.sites.schedulers.slurm_reasons import explain_reason, is_blocked


@pytest.mark.parametrize(
    ("reason", "sentence", "blocked"),
    [
        ("Resources", "enough free nodes", False),
        ("Priority", "higher priority", False),
        ("None", "not looked at it", False),
        ("(Priority)", "higher priority", False),
        ("JobHeldUser", "held by its owner", True),
        ("JobHeldAdmin", "administrator", True),
        ("ReqNodeNotAvail, UnavailableNodes:nid[001-004]", "not available now", False),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "down, draining",
            False,
        ),
        ("launch failed requeued held", "last start failed", True),
        ("job requeued in held state", "held", True),
        ("QOSMaxJobsPerUserLimit", "limit of jobs at once of its quality of service", False),
        ("QOSMaxSubmitJobPerUserLimit", "limit of jobs in the queue", False),
        ("QOSMaxNodePerJobLimit", "more nodes than its quality of service", True),
        ("QOSMinGRES", "fewer GPUs or other devices", True),
        ("AssocGrpCPUMinutesLimit", "limit of minutes of its user's or account's association", False),
        ("AssocGrpCpuLimit", "limit of cores", False),
        ("AssocMaxWallDurationPerJobLimit", "more time than", True),
        ("MaxMemPerAccount", "account's limit of memory", False),
        ("PartitionTimeLimit", "more time than the partition", True),
        ("PartitionDown", "partition is down", False),
        ("DependencyNeverSatisfied", "can never follow", True),
    ],
)
def test_a_sentence_and_slurms_own_word(reason: str, sentence: str, blocked: bool) -> None:
    told = explain_reason(reason)
    assert sentence in told
    assert told.endswith(f"(Slurm: {reason})")
    assert is_blocked(reason) is blocked


def test_a_reason_that_is_new_is_passed_on() -> None:
    assert explain_reason("WaitingForTheMoon") == "WaitingForTheMoon"
    assert not is_blocked("WaitingForTheMoon")


@given(st.text())
def test_no_reason_is_too_odd(reason: str) -> None:
    assert reason.strip() in explain_reason(reason)
    is_blocked(reason)
