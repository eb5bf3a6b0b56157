"""Who may do what with what: the table of the policy, and that nobody has more rights than somebody above them."""

from __future__ import annotations

from itertools import combinations

import pytest

from packhorse.domain.access import POLICY, Action, Owned, Verdict
from packhorse.domain.errors import NotAllowed
from packhorse.domain.users import Scope, User

ALICE, ROOT, EVE = User("alice"), User("root", admin=True), User("eve", sees_all=True)
OWN, SHARED, OTHERS = Owned("alice"), Owned("bob", shared=True), Owned("bob")
WITH_OWNER = [Action.SEE, Action.CHANGE, Action.SHARE]


@pytest.mark.parametrize(
    ("thing", "sees", "changes"),
    [
        (OWN, Verdict.ALLOW, Verdict.ALLOW),
        (SHARED, Verdict.ALLOW, Verdict.REFUSE),
        (OTHERS, Verdict.HIDE, Verdict.HIDE),
    ],
)
def test_what_is_ones_own_shared_or_anothers(thing: Owned, sees: Verdict, changes: Verdict) -> None:
    assert POLICY.decide(ALICE, Action.SEE, thing).verdict is sees
    for action in (Action.CHANGE, Action.SHARE):
        assert POLICY.decide(ALICE, action, thing).verdict is changes
        assert POLICY.decide(ROOT, action, thing).verdict is Verdict.ALLOW


def test_a_read_only_admin_sees_all_and_changes_nothing_of_others() -> None:
    assert POLICY.decide(EVE, Action.SEE, OTHERS).allowed
    assert POLICY.allows(EVE, Action.SEE_ALL)
    refused = POLICY.decide(EVE, Action.CHANGE, OTHERS)
    assert (refused.verdict, refused.why) == (Verdict.REFUSE, "It is bob's: you may see it, and not change it.")
    for action in (Action.TRUST, Action.EXAMINE, Action.MANAGE):
        assert not POLICY.allows(EVE, action)


def test_users_are_told_nothing_of_all_and_bring_nothing_of_their_own() -> None:
    for action in (Action.SEE_ALL, Action.TRUST, Action.EXAMINE, Action.MANAGE):
        assert not POLICY.allows(ALICE, action)
        assert POLICY.allows(ROOT, action)
        with pytest.raises(NotAllowed, match="Only an admin"):
            POLICY.require(ALICE, action)


def test_a_token_opens_what_it_has_a_scope_for() -> None:
    read = User("alice", scopes=frozenset({Scope.READ}))
    assert POLICY.decide(read, Action.SEE, OWN).allowed and POLICY.allows(read, Action.LOOK)
    for action in (Action.SUBMIT, Action.KEEP):
        assert not POLICY.allows(read, action)
    refused = POLICY.decide(read, Action.CHANGE, OWN)
    assert (refused.verdict, refused.why) == (Verdict.REFUSE, "This token does not have the scope 'submit'.")
    submit = User("alice", scopes=frozenset({Scope.SUBMIT}))
    assert POLICY.allows(submit, Action.SUBMIT) and not POLICY.allows(submit, Action.LOOK)
    assert POLICY.decide(submit, Action.SEE, OTHERS).verdict is Verdict.REFUSE, "no matter whether it is there"
    nothing = User("root", admin=True, scopes=frozenset())
    assert not any(POLICY.decide(nothing, action, OWN).allowed for action in WITH_OWNER)
    assert [action for action in Action if POLICY.allows(nothing, action)] == [Action.KNOW]


def test_more_scopes_and_more_rights_never_allow_less() -> None:
    subsets = [frozenset(some) for size in range(4) for some in combinations(Scope, size)]
    for action in Action:
        for thing in (None, OWN, SHARED, OTHERS):
            for fewer in subsets:
                for more in (scopes for scopes in subsets if scopes >= fewer):
                    users = [
                        User("alice", scopes=fewer),
                        User("alice", sees_all=True, scopes=more),
                        User("alice", admin=True, scopes=more),
                    ]
                    allowed = [POLICY.decide(user, action, thing).allowed for user in users]
                    assert allowed == sorted(allowed), (action, thing, fewer, more)
