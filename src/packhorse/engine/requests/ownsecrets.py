"""A user's secrets: set, listed by name, removed; never shown again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from packhorse.domain.access import POLICY, Action
from packhorse.domain.accessviews import SecretView
from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidRequest, NotFound, TooLarge
from packhorse.domain.text import text_problem
from packhorse.domain.users import User
from packhorse.engine.sealing import Seal
from packhorse.store.audit import note_change
from packhorse.store.database import Database
from packhorse.store.secrets import delete_secret, list_secrets, secret_names, set_secret

MAX_SECRETS = 100
"""Of one user."""
MAX_BYTES = 64_000
"""Of one value, as UTF-8."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class OwnSecrets:
    """What one user may ask for about their own secrets; nobody asks for those of others."""

    def __init__(self, database: Database, user: User, seal: Seal) -> None:
        self._database, self._user, self._seal = database, user, seal

    def set(self, name: str, value: str) -> None:
        """Keeps ``value`` under ``name``, in place of what was there. Raises InvalidRequest, TooLarge."""
        POLICY.require(self._user, Action.KEEP)
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"'{name[:60]}' cannot be the name of a secret.",
                hint="It has letters, digits and '_', begins with no digit, and is no longer than 64.",
            )
        if not value or text_problem(value):  # what is wrong with it is not said: that would show a part
            raise InvalidRequest(
                f"The value of the secret '{name}' is empty, or no text.", hint="Send text without NUL."
            )
        if len(value.encode()) > MAX_BYTES:
            raise TooLarge(f"The value of the secret '{name}' is larger than {MAX_BYTES:,} bytes.")
        sealed = self._seal.close({"user": self._user.name, "name": name, "value": value})
        with self._database.write() as connection:
            known = {row.name for row in list_secrets(connection, self._user.name, MAX_SECRETS)}
            if name not in known and len(known) >= MAX_SECRETS:
                raise TooLarge(f"You may have {MAX_SECRETS} secrets.", hint="Remove one that you need no more.")
            set_secret(connection, self._user.name, name, sealed)
            note_change(connection, self._user.name, "secret set", name)

    def views(self) -> list[SecretView]:
        """Their names, and when they were set."""
        POLICY.require(self._user, Action.LOOK)
        with self._database.read() as connection:
            rows = list_secrets(connection, self._user.name, MAX_SECRETS)
        return [SecretView(name=row.name, set_at=row.set_at) for row in rows]

    def remove(self, name: str) -> None:
        """Forgets one; tasks that want it fail from now on. Raises NotFound."""
        POLICY.require(self._user, Action.KEEP)
        with self._database.write() as connection:
            if not _NAME.fullmatch(name) or not delete_secret(connection, self._user.name, name):
                raise NotFound(f"You have no secret '{name[:60]}'.", hint="'packhorse secret list' lists them.")
            note_change(connection, self._user.name, "secret removed", name)


def require_secrets(database: Database, user: User, manifests: Iterable[object]) -> None:
    """Raises InvalidRequest where one of these apps wants a secret that the user has not."""
    wanted = {name for one in manifests if isinstance(one, AppManifest) for name in one.secrets}
    require_named(database, user, wanted, "The app")


def require_named(database: Database, user: User, wanted: Collection[str], who: str) -> None:
    """The same of secrets by name, which ``who`` wants."""
    if not wanted:
        return
    with database.read() as connection:
        missing = sorted(set(wanted) - secret_names(connection, user.name, set(wanted)))
    if missing:
        raise InvalidRequest(
            f"{who} wants the secret '{missing[0]}', which you have not set.",
            hint=f"packhorse secret set {missing[0]}",
        )
