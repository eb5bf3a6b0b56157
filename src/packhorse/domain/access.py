"""Who may do what with what. This is the one place that decides it: front doors and services ask, and do as it says.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from packhorse.domain.errors import NotAllowed
from packhorse.domain.users import Scope, User


class Action(StrEnum):
    """What somebody wants to do."""

    KNOW = "know"
    """To be told who one is, and how the API is used."""
    LOOK = "look"
    """To be told what is for all users, and to list what is one's own."""
    SEE = "see"
    """To see a run: its tasks, logs and files."""
    SUBMIT = "submit"
    CHANGE = "change"
    """To cancel a run or its tasks, or to run it again."""
    SHARE = "share"
    """To say who else may see a run."""
    KEEP = "keep"
    """To make and remove what is one's own: tokens, secrets, webhooks."""
    SEE_ALL = "see all"
    """To be told of everybody's runs and accounts, of the server's metrics and of who changed what."""
    TRUST = "trust"
    """To bring commands, images, files and URLs that the server does not know."""
    EXAMINE = "examine"
    """To examine the server: its folders and versions."""
    MANAGE = "manage"
    """To make and remove what is another user's."""


_SCOPES = {
    Action.LOOK: Scope.READ,
    Action.SEE: Scope.READ,
    Action.SUBMIT: Scope.SUBMIT,
    Action.CHANGE: Scope.SUBMIT,
    Action.SHARE: Scope.SUBMIT,
    Action.KEEP: Scope.SUBMIT,
    Action.SEE_ALL: Scope.READ,
    Action.TRUST: Scope.ADMIN,
    Action.EXAMINE: Scope.ADMIN,
    Action.MANAGE: Scope.ADMIN,
}
_ONLY_ADMINS = {
    Action.SEE_ALL: "Only an admin may be told of what concerns everybody.",
    Action.TRUST: "Only an admin may bring that here.",
    Action.EXAMINE: "Only an admin may examine the server.",
    Action.MANAGE: "Only an admin may do this for another user.",
}
_ASK = "Ask whoever runs it."


@dataclass(frozen=True, slots=True)
class Owned:
    """What somebody owns, and whether it is shared with who asks: by name, or with a group of theirs."""

    owner: str
    shared: bool = False


class Verdict(Enum):
    """What is decided."""

    ALLOW = auto()
    HIDE = auto()
    """Who asks must not be told whether it exists."""
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict; of a refusal, why, and what to do."""

    verdict: Verdict
    why: str = ""
    hint: str = ""

    @property
    def allowed(self) -> bool:
        return self.verdict is Verdict.ALLOW


_ALLOWED, _HIDDEN = Decision(Verdict.ALLOW), Decision(Verdict.HIDE)


class Policy:
    """The rules. Users see and change what is theirs, and see what is shared with them; a read-only admin sees
    everybody's and changes nothing of it; an admin may do everything. What a token has no scope for, it does not open.
    """

    def decide(self, user: User, action: Action, thing: Owned | None = None) -> Decision:
        """Whether ``user`` may do this, with ``thing`` where it is done with something that has an owner."""
        if action in _ONLY_ADMINS and not (user.admin or (action is Action.SEE_ALL and user.sees_all)):
            return Decision(Verdict.REFUSE, _ONLY_ADMINS[action], _ASK)
        scope = _SCOPES.get(action)
        if scope is not None and scope not in user.scopes:
            hint = "Make another token, or ask whoever gave you this one."
            return Decision(Verdict.REFUSE, f"This token does not have the scope '{scope}'.", hint)
        if user.admin:
            return _ALLOWED
        if thing is None or thing.owner == user.name:
            return _ALLOWED
        if not (thing.shared or user.sees_all):
            return _HIDDEN
        if action is Action.SEE:
            return _ALLOWED
        return Decision(
            Verdict.REFUSE, f"It is {thing.owner}'s: you may see it, and not change it.", f"Ask {thing.owner}."
        )

    def allows(self, user: User, action: Action) -> bool:
        """Whether ``user`` may do what is done with nothing that has an owner."""
        return self.decide(user, action).allowed

    def require(self, user: User, action: Action) -> None:
        """The same; raises NotAllowed."""
        decision = self.decide(user, action)
        if not decision.allowed:
            raise NotAllowed(decision.why, hint=decision.hint)


#: The one that all ask.
POLICY = Policy()
