"""``/secrets``: what one's tasks are given, and nobody is shown."""

from __future__ import annotations

from typing import IO, Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from packhorse.api.bodies import JsonBody, read_document
from packhorse.api.deps import AsUser
from packhorse.domain.accessviews import SecretView

router = APIRouter(prefix="/secrets", tags=["secrets"])


class SecretRequest(BaseModel):
    """The value of a secret."""

    model_config = ConfigDict(extra="forbid", defer_build=True, hide_input_in_errors=True)

    value: Annotated[str, Field(min_length=1)]


@router.get("", summary="List secrets")
def list_secrets(service: AsUser) -> list[SecretView]:
    """Yours, by name; their values are shown to nobody."""
    return service.secrets.views()


@router.put(
    "/{name}",
    status_code=204,
    summary="Set a secret",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SecretRequest"}}},
        }
    },
)
def set_secret(service: AsUser, name: str, body: JsonBody) -> None:
    """In place of what was there under that name. It is kept encrypted."""
    service.secrets.set(name, _read(body).value)


@router.delete("/{name}", status_code=204, summary="Remove a secret")
def remove_secret(service: AsUser, name: str) -> None:
    """Tasks that want it fail from now on."""
    service.secrets.remove(name)


def _read(body: IO[bytes]) -> SecretRequest:
    return read_document(SecretRequest, body, "The secret was not set.")
