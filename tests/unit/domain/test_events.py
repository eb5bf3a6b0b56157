"""Events of runs: what they say, and their signatures."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from packhorse.domain.events import cloud_event, signed
from packhorse.domain.states import TaskState

S = TaskState


def event(kind: str) -> Any:
    return SimpleNamespace(
        kind=kind, run_id="r-0123456789abcdef", at=1.5, name="n", app="t@1", user="ana", created_at=1.0, started_at=1.2,
        ended_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "counts", "state"),
    [
        ("submitted", {S.QUEUED: 2}, "QUEUED"),
        ("started", {S.QUEUED: 1, S.COMPLETE: 1}, "RUNNING"),
        ("ended", {S.COMPLETE: 2}, "COMPLETE"),
        ("ended", {}, "COMPLETE"),
        ("ended", {S.COMPLETE: 2, S.CANCELED: 1}, "CANCELED"),
        ("ended", {S.COMPLETE: 2, S.CANCELED: 1, S.EXECUTOR_ERROR: 1}, "EXECUTOR_ERROR"),
        ("ended", {S.SYSTEM_ERROR: 1}, "SYSTEM_ERROR"),
    ],
)
def test_the_state_of_a_run_is_that_of_its_tasks_together(kind: str, counts: Any, state: str) -> None:
    document = cloud_event(event(kind), counts)
    assert document["data"]["state"] == state
    assert (document["id"], document["time"]) == (f"r-0123456789abcdef.{kind}", "1970-01-01T00:00:01.500+00:00")


def test_a_signature_is_the_one_of_the_specification() -> None:
    """With the values of its own example."""
    body, headers = signed({"id": "msg_1"}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330.9)
    assert json.loads(body) == {"id": "msg_1"}
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"].startswith("v1,") and len(headers["webhook-signature"]) == 47
    again = signed({"id": "msg_1"}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330.1)[1]
    assert again == headers
    assert signed({"id": "msg_2"}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330)[1] != headers
