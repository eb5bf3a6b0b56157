"""Who sends a request."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool

from packhorse.domain.errors import NotAuthenticated
from packhorse.domain.users import User
from packhorse.identity.known import KnownTokens
from packhorse.identity.tokens import TokenChecker, Tokens

__all__ = ["CurrentUser", "TokenChecker", "Tokens", "current_user", "user_of"]

_HINT = (
    "Send 'Authorization: Bearer TOKEN' (or Basic, with the token as the password); the client and the command line"
    " take it from PACKHORSE_TOKEN_FILE or PACKHORSE_TOKEN."
)


async def user_of(app: FastAPI, token: str) -> User:
    """The user of a token, for a door that takes it from elsewhere than the header of ``current_user``. Raises
    NotAuthenticated, Unavailable.
    """
    known: KnownTokens = app.state.known_tokens
    user = known.get(token)
    if user is None:
        tokens: TokenChecker = app.state.tokens
        revocations = known.revocations()
        user = await run_in_threadpool(tokens.who, token)
        known.put(token, user, revocations)
    return user


async def current_user(request: Request) -> User:
    """The user who sent a request. Every endpoint but those of health depends on this."""
    token = _token_of(request.headers.get("authorization", ""))
    if not token:
        raise NotAuthenticated("This request needs a token.", hint=_HINT)
    user = await user_of(request.app, token)
    request.state.user = user.name
    return user


def _token_of(header: str) -> str:
    """The token in a header; of Basic, which is all that some programs know, it is the password. Empty without one."""
    scheme, _, given = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return given.strip()
        case "basic":
            try:
                return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
            except ValueError:
                return ""
    return ""


CurrentUser = Annotated[User, Depends(current_user)]
