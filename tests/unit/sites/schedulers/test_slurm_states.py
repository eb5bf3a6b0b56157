"""Every state of Slurm's, and what an allocation's end means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.failures import FailureClass
from packhorse.sites.base import JobState
from packhorse.sites.schedulers.slurm_states import BASE_STATES, FLAGS, SILENT_FLAGS, end_of, job_state, parse_state


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PENDING", JobState.PENDING),
        ("RUNNING", JobState.RUNNING),
        ("CONFIGURING", JobState.RUNNING),
        ("COMPLETING", JobState.RUNNING),  # its processes may still write
        ("SUSPENDED", JobState.RUNNING),
        ("CANCELLED by 1000", JobState.ENDED),
        ("CANCELLED+", JobState.ENDED),  # cut at a column's width
        ("OUT_OF_MEMORY", JobState.ENDED),
        ("SPECIAL_EXIT", JobState.PENDING),
        ("REVOKED", JobState.ENDED),
        ("CANCELLED,COMPLETING", JobState.RUNNING),
        ("PENDING,REQUEUED", JobState.PENDING),
        ("NODE_FAIL,REQUEUED", JobState.PENDING),
        ("RUNNING,UPDATE_DB", JobState.RUNNING),
        ("COMPLETED,HIBERNATING", JobState.ENDED),  # a flag we do not know beside a state that we do
        ("HIBERNATING", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
        ("PENDING,RUNNING", JobState.UNKNOWN),  # contradicts itself
    ],
)
def test_where_a_job_is(text: str, expected: JobState) -> None:
    assert job_state(parse_state(text)) is expected


def test_no_state_is_forgotten() -> None:
    documented = (
        "BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE EXPEDITING FAILED LAUNCH_FAILED NODE_FAIL"
        " OUT_OF_MEMORY PENDING POWER_UP_NODE PREEMPTED RECONFIG_FAIL REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING"
        " RESV_DEL_HOLD REVOKED RUNNING SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED TIMEOUT UPDATE_DB"
    )
    assert set(BASE_STATES) | set(FLAGS) | SILENT_FLAGS == set(documented.split())


@pytest.mark.parametrize(
    ("state", "failure"),
    [
        ("COMPLETED", FailureClass.NODE_LOST),  # the script ended well; a task without an end died with its agent
        ("FAILED", FailureClass.NODE_LOST),
        ("NODE_FAIL", FailureClass.NODE_LOST),
        ("BOOT_FAIL", FailureClass.NODE_LOST),
        ("OUT_OF_MEMORY", FailureClass.OUT_OF_MEMORY),
        ("TIMEOUT", FailureClass.PREEMPTED),  # the allocation's time, not the task's
        ("DEADLINE", FailureClass.PREEMPTED),
        ("PREEMPTED", FailureClass.PREEMPTED),
        ("CANCELLED by 1000", FailureClass.PREEMPTED),  # by somebody else: a user's own cancel goes through the engine
        ("REVOKED", FailureClass.SCHEDULER),
        ("HIBERNATING", FailureClass.NODE_LOST),
        ("", FailureClass.NODE_LOST),
    ],
)
def test_what_an_end_means_for_running_tasks(state: str, failure: FailureClass) -> None:
    end = end_of(state)
    assert end.failure is failure
    assert end.message.endswith(".")


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    job_state(parse_state(text))
    end_of(text)


@given(st.lists(st.sampled_from([*sorted(BASE_STATES | FLAGS), "WHAT"])))
def test_what_is_unknown_never_ends_a_job(states: list[str]) -> None:
    if not set(states) & (set(BASE_STATES) | set(FLAGS)):
        assert job_state(states) is JobState.UNKNOWN
