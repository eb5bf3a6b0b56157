"""Ids of KBase's jobs, their words, and what a request for one says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.failures import FailureClass
from packhorse.domain.kbase import (
    MAX_WSID,
    STATUS,
    ErrorCode,
    error_code,
    job_id,
    job_request,
    requirements_of,
    task_of,
    truth,
    wsid_of,
)
from packhorse.domain.kbaseapp import KBaseMethod
from packhorse.domain.states import TaskState

TASKS = st.integers(0, (1 << 63) - 1)


@given(TASKS, st.floats(0, 4e9))
def test_an_id_says_which_task_it_is_and_when_its_run_was_made(task: int, at: float) -> None:
    made = job_id(task, at)
    assert len(made) == 24 and task_of(made) == task_of(made.upper()) == task
    assert int(made[:8], 16) == int(at)


@given(TASKS, TASKS)
def test_two_tasks_have_two_ids(one: int, other: int) -> None:
    assert (job_id(one, 1.0) == job_id(other, 1.0)) == (one == other)


@given(
    st.one_of(st.text(), st.none(), st.integers(), st.lists(st.integers()), st.dictionaries(st.text(), st.integers()))
)
def test_what_is_no_id_is_refused_in_ee2s_words(given: Any) -> None:
    try:
        task_of(given)
    except InvalidRequest as error:
        assert error.message.endswith(
            "is not a valid ObjectId, it must be a 12-byte input or a 24-character hex string"
        )
    else:
        assert len(given) == 24


def test_an_id_that_no_database_can_hold_is_nobodys() -> None:
    assert task_of("f" * 24) == 0


def test_every_state_and_every_failure_has_a_word() -> None:
    assert set(STATUS) == set(TaskState)
    assert {error_code(failure, has_output=False) for failure in FailureClass} <= set(ErrorCode)
    assert error_code("app", has_output=False) is ErrorCode.MISSING_OUTPUT
    assert error_code("app", has_output=True) is ErrorCode.CRASHED
    assert error_code("out_of_time", has_output=False) is ErrorCode.OVER_TIMELIMIT
    assert error_code("scheduler", has_output=False) is ErrorCode.SUBMIT_ISSUE
    assert error_code(None, has_output=False) is ErrorCode.UNKNOWN


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "method",
    "params",
    "app_id",
    "wsid",
    "meta",
    "source_ws_objects",
    "job_requirements",
    "rpc_context",
    "as_admin",
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON) | JSON)
def test_any_request_is_taken_or_refused(document: Any) -> None:
    try:
        request = job_request(document)
    except InvalidRequest:
        return
    assert request.method.count(".") == 1 and isinstance(request.stored()["params"], list)


def test_numbers_and_truths_as_clients_write_them() -> None:
    assert [wsid_of(given) for given in (None, 1, "17", MAX_WSID)] == [None, 1, 17, MAX_WSID]
    for wrong in (0, -1, "x", 1.5, True, MAX_WSID + 1, [], "9" * 30):
        with pytest.raises(InvalidRequest, match="wsid must be an integer > 0"):
            wsid_of(wrong)
    assert [truth(given) for given in (None, 0, 1, "0", "1", "true", "False", True, "")] == [
        False, False, True, False, True, True, False, True, False,
    ]  # fmt: skip
    for odd in ("x", 1.5, [], {}):
        with pytest.raises(InvalidRequest, match="Expected a boolean"):
            truth(odd)
    asked = {"request_cpus": "4", "request_memory": 2000, "request_disk": 30, "client_group": "njs", "debug_mode": 1}
    assert requirements_of(asked) == {"cpus": 4, "memory": 2000, "disk": 30, "clientgroup": "njs"}
    for wrong in ({"request_cpus": 0}, {"request_memory": "2G"}, {"request_disk": True}, {"client_group": ""}):
        with pytest.raises(InvalidRequest):
            requirements_of(wrong)


def test_versions_of_a_method() -> None:
    method = KBaseMethod(module="M", git_commit="0123456789abcdef", tags=["release", "beta"])
    for asked in ("release", "beta", "1.0", "0123456", "0123456789abcdef", "0123456789abcdef0123"):
        assert method.answers_to("1.0", asked), asked
    for asked in ("dev", "1.1", "012345", "1123456", ""):
        assert not method.answers_to("1.0", asked), asked
