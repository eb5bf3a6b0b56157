"""What many endpoints take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from packhorse.api.auth import CurrentUser
from packhorse.domain.numbers import Whole
from packhorse.engine.requests.service import Service, UserService


async def _as_user(request: Request, user: CurrentUser) -> UserService:  # async: it needs no thread
    service: Service = request.app.state.service
    return service.as_user(user)


#: What the user who asks may ask for.
AsUser = Annotated[UserService, Depends(_as_user)]
Cursor = Annotated[
    str | None, Query(json_schema_extra={"pattern": "^[0-9]{1,18}$"}, description="next_cursor of the page before")
]
Limit = Annotated[Whole, Query(ge=1, le=1000)]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]

#: Larger than any number of bytes or tasks.
LARGE = 1 << 62
