"""Runs shared with others: with users by name, or with groups."""

from __future__ import annotations

import re

from packhorse.domain.access import Action
from packhorse.domain.accessviews import ShareView
from packhorse.domain.errors import InvalidRequest, NotFound, TooLarge
from packhorse.domain.text import text_problem
from packhorse.domain.users import User
from packhorse.engine.requests.access import run_row
from packhorse.store.audit import note_change
from packhorse.store.database import Database
from packhorse.store.sharing import share_run, shares_of_run, unshare_run

MAX_SHARES = 1000
"""Of one run."""
_GRANTEE = re.compile(r"(user|group):.{1,200}")


class Sharing:
    """What one user may ask for about who else sees a run."""

    def __init__(self, database: Database, user: User) -> None:
        self._database = database
        self._user = user

    def of(self, run_id: str) -> list[ShareView]:
        """With whom it is shared; whoever sees the run may know."""
        with self._database.read() as connection:
            seq = run_row(connection, self._user, run_id).seq
            return [ShareView(grantee=row.grantee, by=row.by, at=row.at) for row in shares_of_run(connection, seq)]

    def share(self, run_id: str, grantee: str) -> list[ShareView]:
        """Lets 'user:NAME' or 'group:NAME' see a run. Raises NotFound, NotAllowed, InvalidRequest, TooLarge."""
        checked = _checked(grantee)
        with self._database.write() as connection:
            seq = run_row(connection, self._user, run_id, Action.SHARE).seq
            share_run(connection, seq, checked, self._user.name)
            if len(shares_of_run(connection, seq)) > MAX_SHARES:
                raise TooLarge(
                    f"A run is shared with at most {MAX_SHARES} users and groups.", hint="Share it with a group."
                )
            note_change(connection, self._user.name, "run shared", f"{run_id} with {checked}")
        return self.of(run_id)

    def unshare(self, run_id: str, grantee: str) -> list[ShareView]:
        """Shares a run no longer. Raises NotFound, NotAllowed."""
        with self._database.write() as connection:
            seq = run_row(connection, self._user, run_id, Action.SHARE).seq
            known = not text_problem(grantee) and len(grantee) <= 210
            if not known or not unshare_run(connection, seq, grantee):
                raise NotFound(
                    f"Run {run_id} is not shared with '{grantee[:100]}'.", hint="Its sharing lists with whom."
                )
            note_change(connection, self._user.name, "run not shared", f"{run_id} with {grantee}")
        return self.of(run_id)


def _checked(grantee: str) -> str:
    if text_problem(grantee) or not grantee.isprintable() or not _GRANTEE.fullmatch(grantee):
        raise InvalidRequest(
            f"'{grantee[:60]}' is nobody that a run is shared with.", hint="It is like user:ana, or group:lab."
        )
    return grantee
