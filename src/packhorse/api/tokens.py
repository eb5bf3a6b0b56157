"""``/tokens``: made, listed, revoked one by one."""

from __future__ import annotations

from typing import IO, Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from packhorse.api.bodies import JsonBody, read_document
from packhorse.api.deps import AsUser
from packhorse.domain.accessviews import NewTokenView, TokenView
from packhorse.domain.numbers import Number, Truth
from packhorse.domain.users import Scope

router = APIRouter(prefix="/tokens", tags=["tokens"])


class TokenRequest(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: Annotated[str, Field(max_length=100)] = ""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10)] | None = None
    """Those of the token that asks, or some of them; without it, all of them."""
    expires_in_s: Annotated[Number, Field(gt=0, le=1e9)] | None = None
    """Without it, the token does not expire."""
    user: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Another user, for whom an admin makes it."""
    admin: Truth = False
    """It is an admin's. Only an admin makes one."""
    sees_all: Truth = False
    """It is a read-only admin's. Only an admin makes one."""


@router.get("", summary="List tokens")
def list_tokens(service: AsUser) -> list[TokenView]:
    """Yours; an admin sees everybody's. What opens something is not among it."""
    return service.tokens.views()


@router.post(
    "",
    status_code=201,
    summary="Make a token",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TokenRequest"}}},
        }
    },
)
def make_token(service: AsUser, body: JsonBody, response: Response) -> NewTokenView:
    """The answer has it, this once. It opens no more than the token that asks."""
    asked = _read(body)
    response.headers["Cache-Control"] = "no-store"
    return service.tokens.make(
        name=asked.name,
        user=asked.user,
        admin=asked.admin,
        sees_all=asked.sees_all,
        scopes=asked.scopes,
        expires_in_s=asked.expires_in_s,
    )


@router.delete("/{token_id}", status_code=204, summary="Revoke a token")
def revoke_token(service: AsUser, token_id: str) -> None:
    """It opens nothing from now on; other servers of the same database know after two seconds."""
    service.tokens.revoke(token_id)


def _read(body: IO[bytes]) -> TokenRequest:
    return read_document(TokenRequest, body, "The token was not made.")
