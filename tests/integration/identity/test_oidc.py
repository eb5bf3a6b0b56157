"""Bearer tokens of an OpenID Connect issuer, against a real one of the test suite's own."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from packhorse.domain.accessconfig import AuthConfig, OidcConfig
from packhorse.domain.errors import NotAuthenticated, Unavailable
from packhorse.domain.users import Scope, User
from packhorse.engine.embedded import Embedded
from packhorse.identity.checkers import Checkers
from packhorse.identity.oidc import OidcTokens
from packhorse.identity.tokens import Tokens
from tests.fixtures.identity import Issuer, issuer

__all__ = ["issuer"]


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def checker(issuer: Issuer, clock: Clock | None = None, **config: Any) -> OidcTokens:
    return OidcTokens(OidcConfig(issuer=issuer.url, audience=["packhorse"], **config), clock or Clock())


def test_a_token_says_who_it_is(issuer: Issuer) -> None:
    tokens = checker(issuer)
    assert tokens.who(issuer.token(groups=["lab"])) == User("ana", groups=frozenset({"lab"}))
    assert tokens.who(issuer.token(aud=["other", "packhorse"])).name == "ana"
    assert issuer.asked["/keys"] == 1, "keys are asked for once"


def test_rights_are_those_of_groups_and_scopes(issuer: Issuer) -> None:
    config = {"admin_groups": ["ops"], "read_only_admin_groups": ["support"], "user_prefix": "lab:"}
    tokens = checker(issuer, **config, user_claim="email")
    assert tokens.who(issuer.token(groups=["ops"], email="a@b.example")) == User(
        "lab:a@b.example", admin=True, groups=frozenset({"ops"})
    )
    assert tokens.who(issuer.token(groups=["support"], email="e")).sees_all
    scoped = checker(issuer, **config, scopes=True)
    read = scoped.who(issuer.token(groups=["ops"], scope="openid packhorse:read"))
    assert (read.admin, read.scopes) == (False, frozenset({Scope.READ}))
    assert scoped.who(issuer.token()).scopes == frozenset()
    assert scoped.who(issuer.token(groups=["ops"], scope="packhorse:admin")).admin


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": 1}, "has expired"),
        ({"exp": None}, "'exp'"),
        ({"exp": "soon"}, "'exp'"),
        ({"aud": "another"}, "'aud'"),
        ({"aud": None}, "'aud'"),
        ({"iss": "https://elsewhere.example"}, "'iss'"),
        ({"nbf": int(time.time()) + 3600}, "'nbf'"),
        ({"sub": None}, "'sub' names no user"),
        ({"sub": " "}, "names no user"),
        ({"sub": "a\nb"}, "names no user"),
        ({"sub": "x" * 200}, "names no user"),
        ({"sub": 7}, "'sub'"),
    ],
)
def test_a_token_of_which_something_is_wrong_is_refused(issuer: Issuer, claims: dict[str, Any], words: str) -> None:
    with pytest.raises(NotAuthenticated, match=words):
        checker(issuer).who(issuer.token(**claims))


def test_clocks_may_differ_by_a_little(issuer: Issuer) -> None:
    assert checker(issuer).who(issuer.token(exp=int(time.time()) - 10)).name == "ana"


def test_signatures_that_are_none_are_refused(issuer: Issuer) -> None:
    tokens, good = checker(issuer), issuer.token()
    head, payload, signature = good.split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"iss": issuer.url, "sub": "root"}).encode()).decode().rstrip("=")
    stranger = RSAKey.generate_key(2048, {"kid": "first"})
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"first"}').decode().rstrip("=")
    shared = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').decode().rstrip("=")
    public = issuer.keys[0].as_pem(private=False)
    made = hmac.new(public, f"{shared}.{payload}".encode(), "sha256").digest()
    with_public = f"{shared}.{payload}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"
    for wrong in (
        f"{head}.{forged}.{signature}",
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[:-6]}AAAAAA",
        f"{none}.{payload}.",
        issuer.token(stranger),
        with_public,
        "a.b.c",
        f"{head}.{payload}.\x00",
    ):
        with pytest.raises(NotAuthenticated, match="is not accepted"):
            tokens.who(wrong)


def test_keys_change_and_an_old_one_no_longer_opens(issuer: Issuer) -> None:
    clock = Clock()
    tokens = checker(issuer, clock)
    old = issuer.token()
    assert tokens.who(old).name == "ana"
    issuer.keys = [ECKey.generate_key("P-256", {"kid": "second"})]
    new = issuer.token(alg="ES256")
    clock.now += 11
    assert tokens.who(new).name == "ana", "a key that is not known is asked for at once"
    with pytest.raises(NotAuthenticated, match="does not have the key"):
        tokens.who(old)
    asked = issuer.asked["/keys"]
    stranger = RSAKey.generate_key(2048, {"kid": "nobodys"})
    for _ in range(20):
        with pytest.raises(NotAuthenticated):
            tokens.who(issuer.token(stranger))
    assert issuer.asked["/keys"] - asked <= 1, "however many tokens name keys that nobody has"


def test_an_issuer_that_is_away_is_a_sentence_and_known_keys_go_on(issuer: Issuer) -> None:
    clock = Clock()
    issuer.status = 503
    tokens = checker(issuer, clock)
    with pytest.raises(Unavailable, match="answers 503"):
        tokens.who(issuer.token())
    asked = sum(issuer.asked.values())
    with pytest.raises(Unavailable):
        tokens.who(issuer.token())
    assert sum(issuer.asked.values()) == asked, "it is left alone for a moment"
    issuer.status, clock.now = 0, clock.now + 11
    assert tokens.who(issuer.token()).name == "ana"
    issuer.status, clock.now = 500, clock.now + 3700
    assert tokens.who(issuer.token()).name == "ana", "keys are old, and count while it is away"
    clock.now += 25 * 3600
    with pytest.raises(Unavailable):
        tokens.who(issuer.token())


def test_one_that_says_that_it_is_another_is_not_believed(issuer: Issuer) -> None:
    issuer.says = "https://elsewhere.example"
    with pytest.raises(Unavailable, match="another issuer"):
        checker(issuer).who(issuer.token())


def test_tokens_go_to_whoever_they_are_of(issuer: Issuer, embedded: Embedded) -> None:
    store = Tokens(embedded.database)
    config = AuthConfig(oidc=[OidcConfig(issuer=issuer.url, audience=["packhorse"])])
    checkers = Checkers(store, config, {"lab": ["ana", "bob"]})
    assert checkers.who(store.add("bob")) == User("bob", groups=frozenset({"lab"}))
    assert checkers.who(issuer.token(groups=["x"])).groups == {"lab", "x"}
    for other in (
        issuer.token(iss="https://elsewhere.example"),
        issuer.token(iss=None),
        "nothing",
        "ph_nothing",
        "\udc80",
    ):
        with pytest.raises(NotAuthenticated):
            checkers.who(other)
