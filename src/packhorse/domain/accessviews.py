"""What front doors show of access: tokens, shares, webhooks, secrets, and who changed what."""

from __future__ import annotations

from packhorse.domain.users import Scope
from packhorse.domain.views import View


class TokenView(View):
    """A token, without what opens anything."""

    id: str
    name: str
    user: str
    admin: bool
    sees_all: bool
    """Of a read-only admin."""
    scopes: list[Scope]
    created_at: float
    expires_at: float | None
    """None: never."""


class NewTokenView(TokenView):
    """A token that was just made."""

    token: str
    """It is shown this once."""


class ShareView(View):
    """With whom a run is shared."""

    grantee: str
    """'user:NAME' or 'group:NAME'."""
    by: str
    """Who shared it."""
    at: float


class WebhookView(View):
    """Who is told of a user's runs, and how well that goes."""

    id: str
    user: str
    url: str
    events: list[str]
    """Of which it is told: submitted, started, ended."""
    created_at: float
    waiting: int
    """Events that are to be sent."""
    given_up: int
    """Events that it did not take, and that are tried no more."""
    error: str | None
    """Of the last try, where it failed."""
    next_at: float | None
    """When the next try is, after one that failed."""


class NewWebhookView(WebhookView):
    """A webhook that was just made."""

    secret: str
    """By which its events are signed. It is shown this once."""


class SecretView(View):
    """A secret by its name."""

    name: str
    set_at: float


class ChangeView(View):
    """A line of the audit: who changed what."""

    at: float
    user: str
    action: str
    what: str
