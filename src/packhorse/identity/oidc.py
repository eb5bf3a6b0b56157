"""Bearer tokens of an OpenID Connect issuer: signed JSON Web Tokens (RFC 7519), checked with the keys that the issuer
publishes (OpenID Connect Discovery 1.0, RFC 7517).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from joserfc import jws
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jwt import JWTClaimsRegistry

from packhorse.domain.accessconfig import OidcConfig
from packhorse.domain.errors import NotAuthenticated, Unavailable
from packhorse.domain.users import Scope, User
from packhorse.http.client import Http
from packhorse.http.errors import NotReached

#: Signatures with a public key. That of a shared secret is not among them: the published key would be taken for it.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
MAX_GROUPS = 200
"""Of one user; more are not heeded."""
_MAX_TOKEN = 16_000  # characters
_MAX_KEYS = 100
_LEEWAY_S = 30  # by which clocks may differ
_KEEP_S = 3600.0  # keys are asked for again after that time
_SOON_S = 10.0  # and at the earliest, however many tokens name keys that we do not know
_STALE_S = 24 * 3600.0  # for so long keys count while the issuer does not answer
_TIMEOUT_S = 10.0
_PREFIX = "packhorse:"  # of scopes of the issuer that are ours

_log = structlog.get_logger("packhorse.identity")


class OidcTokens:
    """The tokens of one issuer."""

    def __init__(self, config: OidcConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._keys = IssuerKeys(config.issuer, monotonic)
        self._claims = JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": config.issuer},
            aud={"essential": True, "values": list(config.audience)},
            exp={"essential": True},
        )

    @property
    def issuer(self) -> str:
        return self._config.issuer

    def who(self, token: str) -> User:
        """The user of a token that says that it is of this issuer. Raises NotAuthenticated, Unavailable."""
        try:
            found = jws.extract_compact(token.encode("ascii"))
            header = found.headers()
        except (JoseError, ValueError, TypeError):
            raise _refused("it cannot be read") from None
        if header.get("alg") not in ALGORITHMS:
            raise _refused("it is not signed in a way that is accepted here")
        key = self._keys.key(header.get("kid"))
        if key is None:
            raise _refused("its issuer does not have the key that it names")
        try:
            claims = json.loads(jws.deserialize_compact(token.encode("ascii"), key, algorithms=ALGORITHMS).payload)
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise NotAuthenticated("The token has expired.", hint="Ask its issuer for a new one.") from None
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            claim = getattr(error, "claim", None)
            raise _refused("its signature is wrong" if claim is None else f"its '{claim}' is not one of ours") from None
        return self._user(claims)

    def _user(self, claims: Mapping[str, Any]) -> User:
        config = self._config
        name = claims.get(config.user_claim)
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 150:
            raise _refused(f"its '{config.user_claim}' names no user")
        said = claims.get(config.groups_claim)
        groups = frozenset([one for one in said if isinstance(one, str)][:MAX_GROUPS] if isinstance(said, list) else ())
        scopes = frozenset(Scope)
        if config.scopes:
            words = str(claims.get("scope") or "").split()
            scopes = frozenset(scope for scope in Scope if _PREFIX + scope in words)
        admin = not groups.isdisjoint(config.admin_groups) and Scope.ADMIN in scopes
        sees_all = not groups.isdisjoint(config.read_only_admin_groups)
        return User(config.user_prefix + name, admin, sees_all, scopes, groups)


class IssuerKeys:
    """The keys that an issuer publishes, asked for when a token names one that is not known; they change there."""

    def __init__(self, issuer: str, monotonic: Callable[[], float]) -> None:
        self._issuer, self._monotonic = issuer, monotonic
        self._http = Http(timeout_s=_TIMEOUT_S)  # keys may be at another host
        self._lock = threading.Lock()
        self._by_id: dict[str | None, Key] = {}
        self._asked_at = self._told_at = float("-inf")
        self._trouble = f"{issuer} gives no keys"

    def key(self, kid: Any) -> Key | None:
        """The key of this id; without an id, the only one. Raises Unavailable where none are known, and the issuer does
        not answer.
        """
        with self._lock:  # others wait for the one who asks, and then know what came of it
            now = self._monotonic()
            is_old = now - self._told_at > _KEEP_S
            if (is_old or self._find(kid) is None) and now - self._asked_at > _SOON_S:
                self._asked_at = now
                self._ask(now)
            if not self._by_id:
                hint = "Try again later; what was accepted goes on."
                raise Unavailable(f"The token cannot be checked: {self._trouble}.", hint=hint)
            return self._find(kid)

    def _find(self, kid: Any) -> Key | None:
        if kid is None:
            return next(iter(self._by_id.values())) if len(self._by_id) == 1 else None
        return self._by_id.get(kid) if isinstance(kid, str) else None

    def _ask(self, now: float) -> None:
        try:
            document = self._json(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if document.get("issuer") != self._issuer:
                raise ValueError("it says that it is another issuer")
            place = str(document.get("jwks_uri"))
            if self._issuer.startswith("https:") and not place.startswith("https:"):
                raise ValueError("its keys are not at https://")
            found = self._json(place)["keys"]
            self._by_id = _imported(found[:_MAX_KEYS])
            self._told_at = now
        except (NotReached, ValueError, KeyError, TypeError) as error:
            why = error.what if isinstance(error, NotReached) else f"{self._issuer} gives no keys: {error}"
            _log.warning("issuer_not_asked", issuer=self._issuer, reason=why)
            self._trouble = why
            if now - self._told_at > _STALE_S:
                self._by_id = {}

    def _json(self, url: str) -> Any:
        answer = self._http.ask("GET", url, total_s=_TIMEOUT_S, limit=1 << 20)
        if answer.status_code != 200:
            raise ValueError(f"it answers {answer.status_code}")
        return json.loads(answer.content)


def _imported(keys: list[Any]) -> dict[str | None, Key]:
    """Public keys for signatures, by id; those of kinds that we do not know are left out."""
    found: dict[str | None, Key] = {}
    for one in keys:
        if isinstance(one, dict) and one.get("kty") in ("RSA", "EC", "OKP") and one.get("use", "sig") == "sig":
            try:
                key = JWKRegistry.import_key(one)
            except (JoseError, ValueError, TypeError):
                continue
            found[key.kid] = key
    return found


def says_issuer(token: str) -> str | None:
    """Which issuer a token says that it is of, unchecked; None where it is no JSON Web Token."""
    if token.count(".") != 2 or len(token) > _MAX_TOKEN or not token.isascii():
        return None
    try:
        claims = json.loads(jws.extract_compact(token.encode("ascii")).payload)
        issuer = claims.get("iss")
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return issuer if isinstance(issuer, str) else None


def _refused(why: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"The token is not accepted: {why}.", hint="Ask its issuer for one that is for this server."
    )
