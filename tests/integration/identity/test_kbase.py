"""Tokens of KBase, against a real server that answers as its auth2 service does."""

from __future__ import annotations

import threading
import time

import pytest

from packhorse.domain.accessconfig import KBaseAuthConfig
from packhorse.domain.errors import NotAuthenticated, Unavailable
from packhorse.domain.users import User
from packhorse.identity.kbase import KEEP_S, KBaseTokens
from tests.fixtures.identity import KBaseAuth, kbase_auth

__all__ = ["kbase_auth"]


def checker(auth: KBaseAuth, now: float = 0.0) -> tuple[KBaseTokens, list[float]]:
    """The checker, and its monotonic clock."""
    clock = [now]
    return KBaseTokens(KBaseAuthConfig(url=f"{auth.url}/services/auth/"), monotonic=lambda: clock[0]), clock


def test_users_admins_and_read_only_admins(kbase_auth: KBaseAuth) -> None:
    kbase_auth.users = {"A": ("alice", []), "B": ("bob", ["EE2_ADMIN_RO", "X"]), "R": ("root", ["EE2_ADMIN"])}
    tokens, _ = checker(kbase_auth)
    assert [tokens.who(one) for one in "ABR"] == [
        User("alice"), User("bob", sees_all=True), User("root", admin=True),
    ]  # fmt: skip
    for wrong in ("C", "", "a b", "\xe9", "x" * 2000, "a\nb"):
        with pytest.raises(NotAuthenticated):
            tokens.who(wrong)


def test_an_answer_counts_for_a_while_and_no_longer(kbase_auth: KBaseAuth) -> None:
    kbase_auth.users = {"A": ("alice", ["EE2_ADMIN"])}
    tokens, clock = checker(kbase_auth)
    for _ in range(5):
        assert tokens.who("A").admin
    assert kbase_auth.asked["/services/auth/api/V2/token"] == 1
    kbase_auth.users = {"A": ("alice", [])}
    clock[0] += KEEP_S
    assert not tokens.who("A").admin
    kbase_auth.users = {}
    assert tokens.who("A").name == "alice"
    clock[0] += KEEP_S
    with pytest.raises(NotAuthenticated, match="Token validation failed: 10020 Invalid token"):
        tokens.who("A")


@pytest.mark.parametrize(("cache_ms", "expires_in_s"), [(5_000, 3600.0), (300_000, 5.0)])
def test_the_service_says_how_long_it_counts(kbase_auth: KBaseAuth, cache_ms: int, expires_in_s: float) -> None:
    kbase_auth.users = {"A": ("alice", [])}
    kbase_auth.cache_ms, kbase_auth.expires_in_s = cache_ms, expires_in_s
    tokens, clock = checker(kbase_auth)
    tokens.who("A")
    clock[0] += 5.1
    tokens.who("A")
    assert kbase_auth.asked["/services/auth/api/V2/token"] == 2


def test_an_expired_token_is_refused(kbase_auth: KBaseAuth) -> None:
    kbase_auth.users, kbase_auth.expires_in_s = {"A": ("alice", [])}, -1.0
    with pytest.raises(NotAuthenticated, match="has expired"):
        checker(kbase_auth)[0].who("A")


def test_a_service_that_is_away_is_a_sentence_and_holds_nobody_up(kbase_auth: KBaseAuth) -> None:
    kbase_auth.users = {"A": ("alice", []), "B": ("bob", [])}
    tokens, clock = checker(kbase_auth)
    assert tokens.who("A").name == "alice"
    kbase_auth.status = 502
    with pytest.raises(Unavailable, match="does not answer: it answers 502"):
        tokens.who("B")
    asked = sum(kbase_auth.asked.values())
    with pytest.raises(Unavailable):
        tokens.who("B")
    assert sum(kbase_auth.asked.values()) == asked
    assert tokens.who("A").name == "alice", "who is known goes on"
    kbase_auth.status, clock[0] = 0, clock[0] + 3
    assert tokens.who("B").name == "bob"


def test_a_service_that_says_nothing_is_given_up(kbase_auth: KBaseAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packhorse.identity.kbase._TIMEOUT_S", 0.3)
    kbase_auth.users, kbase_auth.delay_s = {"A": ("alice", [])}, 5.0
    tokens, _ = checker(kbase_auth)
    refused: list[Exception] = []

    def ask() -> None:
        try:
            tokens.who("A")
        except Unavailable as error:
            refused.append(error)

    began = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 4 and time.monotonic() - began < 4
