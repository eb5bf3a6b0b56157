"""What those may ask for who watch over a server."""

from __future__ import annotations

from packhorse.domain.access import POLICY, Action
from packhorse.domain.accessviews import ChangeView
from packhorse.domain.users import User
from packhorse.domain.views import Page
from packhorse.engine.requests.figures import Figures, LatestFigures
from packhorse.engine.requests.pages import cursor_of, page_size
from packhorse.store.audit import changes
from packhorse.store.database import Database


class Watching:
    """For admins, read-only ones too."""

    def __init__(self, database: Database, user: User) -> None:
        self._database = database
        self._user = user

    def figures(self, latest: LatestFigures) -> Figures:
        """Of all users together. Raises NotAllowed."""
        POLICY.require(self._user, Action.SEE_ALL)
        return latest.of(self._database)

    def changes(self, cursor: str | None = None, limit: int = 100) -> Page[ChangeView]:
        """Who changed what, newest first. Raises NotAllowed."""
        POLICY.require(self._user, Action.SEE_ALL)
        size = page_size(limit)
        with self._database.read() as connection:
            rows = changes(connection, cursor_of(cursor), size)
        items = [ChangeView(at=row.at, user=row.user, action=row.action, what=row.what) for row in rows]
        return Page(items=items, next_cursor=str(rows[-1].id) if len(rows) == size else None)
