"""Sections of ``packhorse.toml`` about who may use a server, and how much of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from packhorse.domain.numbers import Number, Truth, Whole
from packhorse.domain.section import Section

_WEB_URL = r"^(https://|http://(127\.0\.0\.1|localhost|\[::1\])(:|/|$))[^?#@\s]*$"


class OidcConfig(Section):
    """``[[auth.oidc]]``: an OpenID Connect issuer whose bearer tokens are accepted. May be there several times."""

    issuer: str = Field(pattern=_WEB_URL)
    """Its URL, exactly as its tokens have it. Keys are found at ``/.well-known/openid-configuration`` below it."""
    audience: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    """A token must be for one of these: what the issuer calls this server."""
    user_claim: str = "sub"
    """What of a token is the user's name. It must be unique at the issuer, and users cannot be free to change it."""
    user_prefix: str = Field(default="", max_length=40)
    """Stands before that name. Two issuers that may have users of one name need two prefixes."""
    groups_claim: str = "groups"
    """What of a token lists the user's groups."""
    admin_groups: list[str] = []
    """Who is in one of these is an admin."""
    read_only_admin_groups: list[str] = []
    """Who is in one of these may see everybody's runs."""
    scopes: Truth = False
    """Whether a token opens only what its scopes say: ``packhorse:read``, ``packhorse:submit``, ``packhorse:admin``."""


class KBaseAuthConfig(Section):
    """``[auth.kbase]``: KBase's authentication service, whose tokens are accepted."""

    url: str = Field(default="https://kbase.us/services/auth", pattern=_WEB_URL)
    """Where it is."""
    admin_roles: list[str] = ["EE2_ADMIN"]
    """Who has one of these roles there is an admin."""
    read_only_admin_roles: list[str] = ["EE2_ADMIN_RO"]
    """Who has one of these roles may see everybody's runs."""
    user_prefix: str = Field(default="", max_length=40)
    """Stands before a user's name."""


class AuthConfig(Section):
    """``[auth]``: whose tokens a server accepts beside its own."""

    oidc: list[OidcConfig] = []
    """OpenID Connect issuers, as tables ``[[auth.oidc]]``."""
    kbase: KBaseAuthConfig | None = None
    """KBase's authentication service: the table ``[auth.kbase]``."""


class UserLimits(Section):
    """``[limits.users.NAME]``: other limits for one user. What is not said here is as in ``[limits]``."""

    submissions_per_s: Number | None = Field(default=None, gt=0)
    """Requests that submit, each second; without it, there is no limit. So it is for each key here."""
    tasks_in_flight: Whole | None = Field(default=None, ge=1)
    """Tasks that have not ended."""
    body_mb: Number | None = Field(default=None, gt=0)
    """The body of one request."""
    stored_gb: Number | None = Field(default=None, gt=0)
    """Outputs of all of a user's tasks that were kept at sites, all together: beyond it, nothing more is accepted."""


class LimitsConfig(UserLimits):
    """``[limits]``: what each user who is no admin may take of a server."""

    users: dict[str, UserLimits] = {}
    """Other limits for some users, as tables ``[limits.users.NAME]``."""

    def of(self, user: str) -> UserLimits:
        """The limits of a user."""
        own = self.users.get(user)
        if own is None:
            return self
        return self.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
