"""The folders of apps at a site: ``apps/NAME-DIGEST``, each whole or not there."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from packhorse.domain.apparchive import AppFile, unpack_app
from packhorse.sites.site import Site

_COMMAND_S = 600.0


class AppDamaged(Exception):
    """An app is not what its digest says; the message is a sentence.

    ``for_good``: in the store, so that trying again would not help.
    """

    def __init__(self, message: str, *, for_good: bool) -> None:
        super().__init__(message)
        self.for_good = for_good


def app_folder(site: Site, name: str, digest: str) -> str:
    """Where the folder of an app is, once it is there."""
    return f"{site.root}/apps/{name}-{digest[:16]}"


def is_app_here(site: Site, name: str, digest: str, archive: bytes) -> bool:
    """Whether the folder of an app is there, with the content that ``digest`` says, at a site whose files are ours.

    Raises OSError.
    """
    try:
        return _why_damaged(site, app_folder(site, name, digest), unpack_app(archive, digest)) is None
    except ValueError:
        return False


def bring_app(site: Site, name: str, digest: str, archive: bytes) -> str:
    """Brings the folder of an app, unless what is there has the content that ``digest`` says; returns its path.

    What else tasks have made there stays. Raises AppDamaged, SiteUnreachable, OSError.
    """
    try:
        files = unpack_app(archive, digest)
    except ValueError as error:
        hint = "Change the app, say its version, and submit it again."
        raise AppDamaged(f"It is damaged in the store: {error}. {hint}", for_good=True) from None
    target = app_folder(site, name, digest)
    if site.transport.exists(target) and _why_damaged(site, target, files) is None:
        return target
    coming = f"{site.root}/apps/.{name}-{digest[:16]}.{secrets.token_hex(4)}"
    try:
        if site.transport.is_local:
            _write(site, coming, files)
        else:
            _send(site, coming, archive)
        # whatever our umask: a container may run as another user
        site.transport.run(["chmod", "-R", "u+w,a+rX,go-w", "--", coming], timeout_s=_COMMAND_S)
        if why := _why_damaged(site, coming, files):
            raise AppDamaged(f"It is damaged at '{site.name}': {why}.", for_good=False)
        _put_in_place(site, coming, target)
    finally:
        site.transport.remove(coming)
    return target


def _write(site: Site, folder: str, files: Sequence[AppFile]) -> None:
    site.transport.make_folder(folder)
    for file in files:
        path = Path(folder, file.path)
        site.transport.make_folder(str(path.parent))
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)


def _send(site: Site, folder: str, archive: bytes) -> None:
    """As one file, which is unpacked there."""
    site.transport.make_folder(str(PurePosixPath(folder).parent))
    packed = f"{folder}.tar.gz"
    try:
        site.transport.write(packed, archive)
        command = [site.python, "-I", "-S", site.bring_agent(), "--unpack", packed, folder]
        done = site.transport.run(command, timeout_s=_COMMAND_S)
    finally:
        site.transport.remove(packed)
    if done.exit_code != 0:
        raise OSError(f"It cannot be unpacked at '{site.name}': {done.stderr.strip()[-300:]}")


def _why_damaged(site: Site, folder: str, files: Sequence[AppFile]) -> str | None:
    """What of ``files`` is not as it should be in a folder there; None when all is."""
    if site.transport.is_local:
        return next((f"'{file.path}' is not what was sent" for file in files if not _is_there(folder, file)), None)
    sums = f"{folder}.sha256"
    site.transport.write(sums, b"".join(_sum_line(folder, file) for file in files))
    try:
        done = site.transport.run(["sha256sum", "-c", sums], timeout_s=_COMMAND_S)
    finally:
        site.transport.remove(sums)
    if done.exit_code == 0 or not files:
        return None
    wrong = [line for line in done.stdout.splitlines() if not line.endswith(": OK")]
    return f"sha256sum says {(wrong or [done.stderr.strip() or 'nothing'])[0][-300:]}"


def _is_there(folder: str, file: AppFile) -> bool:
    path = Path(folder, file.path)
    try:
        return path.read_bytes() == file.content and os.access(path, os.X_OK) >= file.executable
    except OSError:
        return False


def _sum_line(folder: str, file: AppFile) -> bytes:
    """As sha256sum writes it: a line that begins with a backslash has some in the name, for themselves or a line's
    end.
    """
    name = os.fsencode(f"{folder}/{file.path}")
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    mark = b"\\" if escaped != name else b""
    return mark + hashlib.sha256(file.content).hexdigest().encode() + b"  " + escaped + b"\n"


def _put_in_place(site: Site, coming: str, target: str) -> None:
    if site.transport.exists(target):  # damaged
        leaving = f"{coming}.old"
        site.transport.rename(target, leaving)
        site.transport.remove(leaving)
    try:
        site.transport.rename(coming, target)
    except OSError:  # somebody else was quicker
        if not site.transport.exists(target):
            raise
