"""Credentials of registries, read where 'skopeo login', 'podman login' and 'docker login' leave them
(containers-auth.json(5)).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packhorse.domain.images import DOCKER_HUB, ImageError, ImageFailure, ImageReference
from packhorse.domain.ourselves import home, xdg


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password for a registry, and the file that they are from. Never shown."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    file: Path

    @property
    def basic(self) -> str:
        """As a header of HTTP."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def auth_files(given: Path | None, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where credentials are looked for, first place first. A file that is given is the only place."""
    if given is not None:
        return [given]
    own = home(environment)
    runtime = environment.get("XDG_RUNTIME_DIR")
    config = xdg("XDG_CONFIG_HOME", ".config", environment)
    named = environment.get("REGISTRY_AUTH_FILE")
    return [
        *([Path(named)] if named else []),
        *([Path(runtime) / "containers" / "auth.json"] if runtime else []),
        *([config / "containers" / "auth.json"] if config else []),
        *([own / ".docker" / "config.json"] if own else []),
    ]


def find_login(reference: ImageReference, given: Path | None) -> Login | None:
    """The credentials for an image: those of the longest part of its name that has some; None where nobody has any.

    Raises ImageError when a file, or the entry that counts, cannot be read.
    """
    for file in auth_files(given):
        entries = _entries(file, must_exist=file == given)
        name = reference.name
        while name:
            if name in entries:
                return _login(entries[name], name, file)
            name = name.rpartition("/")[0]
    return None


def auth_for(given: Path | None, registries: Iterable[str]) -> dict[str, Any]:
    """The content of an auth.json with what is known of these registries (``host`` or ``host:port``) and nothing
    else.
    """
    wanted = set(registries)
    found: dict[str, Any] = {}
    for file in auth_files(given):
        for name, auth in _entries(file, must_exist=file == given).items():
            if name.partition("/")[0] in wanted:
                found.setdefault(name, {"auth": auth})
    return {"auths": found}


def _entries(file: Path, *, must_exist: bool) -> dict[str, str]:
    """Name of a registry, or of a part of it → what stands under 'auth'.

    Entries without (those of credential helpers) are left out.
    """
    try:
        document = json.loads(file.read_bytes())
        return dict(_named(document["auths"])) if "auths" in document else {}
    except FileNotFoundError:
        if not must_exist:
            return {}
        why = "there is no such file"
    except OSError as error:
        if not must_exist:
            return {}
        why = error.strerror or "it cannot be opened"
    except (ValueError, TypeError, AttributeError):
        why = 'it is not like \'{"auths": {"host": {"auth": "..."}}}\''
    hint = f"Mend it, or write a new one with 'skopeo login --authfile {file} HOST'."
    raise ImageError(ImageFailure.DENIED, f"The credentials of registries in {file} cannot be read: {why}.", hint=hint)


def _named(auths: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Docker writes its own registry as a URL, and others may too."""
    for key, entry in auths.items():
        name = key.partition("://")[2].partition("/")[0] if "://" in key else key.rstrip("/")
        host, slash, rest = name.partition("/")
        host = DOCKER_HUB if host in ("index.docker.io", "registry-1.docker.io") else host
        if isinstance(auth := entry.get("auth"), str) and auth:
            yield host + slash + rest, auth


def _login(auth: str, name: str, file: Path) -> Login:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user = colon = password = ""
    if not colon or not user:
        message = f"The entry of {name} in {file} cannot be read: it is not 'user:password' in Base64."
        raise ImageError(
            ImageFailure.DENIED, message, hint=f"Write it anew with 'skopeo login --authfile {file} {name}'."
        )
    return Login(user, password.rstrip("\0"), file)
