"""``packhorse secret`` and ``packhorse share``."""

from __future__ import annotations

import sys
from getpass import getpass

from packhorse.cli.output import moment, note, print_json, print_table, say
from packhorse.client import Client
from packhorse.domain.errors import InvalidRequest

_MOST = 1_000_000  # bytes that are read; what is longer than a secret may be is refused anyway


def set_secret(name: str) -> None:
    """``packhorse secret set``."""
    if sys.stdin.isatty():
        value = getpass(f"Value of {name}: ")
    else:
        try:
            value = sys.stdin.buffer.read(_MOST).decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"The value of the secret '{name[:60]}' is no UTF-8 text.") from None
        value = value.removesuffix("\n").removesuffix("\r")
    with Client() as client:
        client.backend.secrets.set(name, value)
    note(f"Kept {name}.")


def list_secrets(*, as_json: bool) -> None:
    """``packhorse secret list``."""
    with Client() as client:
        views = client.backend.secrets.views()
    if as_json:
        print_json(views)
    else:
        print_table(["secret", "set"], [(view.name, moment(view.set_at)) for view in views])


def remove_secret(name: str) -> None:
    """``packhorse secret remove``."""
    with Client() as client:
        client.backend.secrets.remove(name)
    note(f"Forgot {name}.")


def share_run(run_id: str, who: str | None, *, undo: bool, as_json: bool) -> None:
    """``packhorse share``."""
    if who is None and undo:
        raise InvalidRequest("With whom is it to be shared no longer?", hint=f"packhorse share {run_id} WHO --undo")
    with Client() as client:
        shares = client.backend.sharing
        if who is None:
            views = shares.of(run_id)
        else:
            views = shares.unshare(run_id, who) if undo else shares.share(run_id, who)
    if as_json:
        print_json(views)
    elif views:
        print_table(["shared with", "by", "since"], [(view.grantee, view.by, moment(view.at)) for view in views])
    else:
        say("It is shared with nobody.")
