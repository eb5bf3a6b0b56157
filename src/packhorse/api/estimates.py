"""``/estimate`` and ``/history``: what tasks are expected to need, and what they used."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import ConfigDict, RootModel

from packhorse.api.bodies import MAX_JSON_BYTES, JsonBody, parse_run
from packhorse.api.deps import AsUser, Cursor, Limit
from packhorse.domain.expectations import RunExpectation, TaskEstimate
from packhorse.domain.history import HistoryRow
from packhorse.domain.jsontext import read_json
from packhorse.domain.problems import validated
from packhorse.domain.views import Page

router = APIRouter(tags=["estimates"])


class HistoryRows(RootModel[list[HistoryRow]]):
    """Several."""

    model_config = ConfigDict(defer_build=True)


_RUN: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunRequest"}}},
    }
}
_HISTORY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/HistoryRow"}, "maxItems": 5000}
            }
        },
    }
}


@router.post("/estimate", summary="What a run is expected to need", openapi_extra=_RUN)
def estimate(service: AsUser, body: JsonBody) -> RunExpectation:
    """Memory, time, cores, cost and queue wait, with intervals and the history behind them. Nothing is submitted."""
    with body:
        request = parse_run(body)
    return service.estimate(request)


@router.get("/tasks/{task_id}/estimates", summary="What was decided for a task, and why", tags=["tasks"])
def task_estimates(service: AsUser, task_id: str) -> list[TaskEstimate]:
    """By attempt; where nothing was decided, what would be now, as attempt 0."""
    return service.task_estimates(task_id)


@router.get("/history", summary="What attempts used")
def history(service: AsUser, cursor: Cursor = None, limit: Limit = 1000) -> Page[HistoryRow]:
    """Oldest first, of all users, whom digests stand for. For admins."""
    return service.history(cursor, limit)


@router.post("/history", summary="Take in what attempts used elsewhere", openapi_extra=_HISTORY)
def add_history(service: AsUser, body: JsonBody) -> int:
    """At most 5,000 rows; returns how many were taken in. For admins."""
    with body:
        document = read_json(body.read(), "The body", MAX_JSON_BYTES)
    return service.add_history(validated(HistoryRows, document, "The history was not accepted.").root)
