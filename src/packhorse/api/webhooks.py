"""``/webhooks``: who is told of one's runs."""

from __future__ import annotations

from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from packhorse.api.bodies import JsonBody, read_document
from packhorse.api.deps import AsUser
from packhorse.domain.accessviews import NewWebhookView, WebhookView

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


Kind = Literal["submitted", "started", "ended", "task.started", "task.ended"]


class WebhookRequest(BaseModel):
    """A webhook to make."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    """Where events are sent: POST, as CloudEvents, signed."""
    events: Annotated[list[Kind], Field(min_length=1, max_length=5)] | None = None
    """Of which events; without it, of all of runs, and none of tasks."""


@router.get("", summary="List webhooks")
def list_webhooks(service: AsUser) -> list[WebhookView]:
    """Yours, with how many events wait; an admin sees everybody's."""
    return service.webhooks.views()


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/WebhookRequest"}}},
        }
    },
)
def make_webhook(service: AsUser, body: JsonBody, response: Response) -> NewWebhookView:
    """It is told of your runs from now on. The answer has the secret that signs its events, this once."""
    asked = _read(body)
    response.headers["Cache-Control"] = "no-store"
    return service.webhooks.make(asked.url, asked.events)


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook")
def remove_webhook(service: AsUser, webhook_id: str) -> None:
    """It is told nothing more."""
    service.webhooks.remove(webhook_id)


@router.get("/{webhook_id}/given-up", summary="Events that were given up")
def given_up(service: AsUser, webhook_id: str) -> list[dict[str, Any]]:
    """Those that it did not take in half a day, as CloudEvents, oldest first."""
    return service.webhooks.given_up(webhook_id)


@router.post("/{webhook_id}/send-again", status_code=204, summary="Send again what was given up")
def send_again(service: AsUser, webhook_id: str) -> None:
    """That, and what waits, soon."""
    service.webhooks.send_again(webhook_id)


def _read(body: IO[bytes]) -> WebhookRequest:
    return read_document(WebhookRequest, body, "The webhook was not made.")
