"""What one user may ask for beside runs; each is made when it is asked for: most requests do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packhorse.domain.users import User
from packhorse.store.database import Database

if TYPE_CHECKING:
    from packhorse.engine.requests.ownsecrets import OwnSecrets
    from packhorse.engine.requests.owntokens import OwnTokens
    from packhorse.engine.requests.ownwebhooks import OwnWebhooks
    from packhorse.engine.requests.sharing import Sharing
    from packhorse.engine.requests.watching import Watching
    from packhorse.engine.sealing import Seal
    from packhorse.http.reach import Reach


class Own:
    """Of one user, who is asked about in each method of what it gives."""

    def __init__(self, database: Database, user: User, seal: Seal, reach: Reach | None) -> None:
        self._database, self._user = database, user
        self._seal, self._reach = seal, reach

    @property
    def tokens(self) -> OwnTokens:
        """By which this user asks."""
        from packhorse.engine.requests.owntokens import OwnTokens

        return OwnTokens(self._database, self._user)

    @property
    def sharing(self) -> Sharing:
        """Who else sees this user's runs."""
        from packhorse.engine.requests.sharing import Sharing

        return Sharing(self._database, self._user)

    @property
    def secrets(self) -> OwnSecrets:
        """What this user's tasks are given."""
        from packhorse.engine.requests.ownsecrets import OwnSecrets

        return OwnSecrets(self._database, self._user, self._seal)

    @property
    def webhooks(self) -> OwnWebhooks:
        """Who is told of this user's runs."""
        from packhorse.engine.requests.ownwebhooks import OwnWebhooks

        return OwnWebhooks(self._database, self._user, self._seal, self._reach)

    @property
    def watching(self) -> Watching:
        """The whole server, for those who watch over it."""
        from packhorse.engine.requests.watching import Watching

        return Watching(self._database, self._user)
