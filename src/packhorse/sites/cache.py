"""The cache of a site for data that came by URL:

``cache/<aa>/<sha256>/NAME``, by content. What is in its place is whole and read-only.
"""

from __future__ import annotations

import json
from pathlib import Path

from packhorse.sites.site import Site

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_UNPACK_S = 6 * 3600.0


class NotUnpacked(Exception):
    """Reference data whose archive is damaged, or has a member that it must not have; the message is a sentence."""


def content_folder(site: Site, sha256: str) -> str:
    """Where content is kept."""
    return f"{site.root}/cache/{sha256[:2]}/{sha256}"


def archive_stem(name: str) -> str | None:
    """The name of the folder that an archive is unpacked to; None for what is no archive."""
    suffix = next((suffix for suffix in _ARCHIVES if name.lower().endswith(suffix)), None)
    return None if suffix is None else name[: -len(suffix)] or "data"


def has(site: Site, sha256: str) -> bool:
    """Whether a file with this content is in the cache, under whatever name."""
    return any(not name.endswith(".tmp") for name in site.transport.names(content_folder(site, sha256)))


def keep(site: Site, part: Path | str, sha256: str, name: str, *, executable: bool = False) -> str:
    """Takes a file into the cache, and returns its path there. One that is there under another name is linked.

    ``part`` is a file of this machine, or, as text, of the site, which is moved. Raises SiteUnreachable, OSError.
    """
    folder = content_folder(site, sha256)
    target = f"{folder}/{name}"
    there = [known for known in site.transport.names(folder) if not known.endswith(".tmp")]
    if name in there:
        return target
    if there:
        _run(site, ["ln", "-f", "--", f"{folder}/{there[0]}", target])
        return target
    site.transport.make_folder(folder)
    if isinstance(part, str) or site.transport.is_local:
        _run(site, ["chmod", "555" if executable else "444", "--", str(part)])
        site.transport.rename(str(part), target)
    else:
        site.transport.put(part, target)
        _run(site, ["chmod", "444", "--", target])
    return target


def keep_unpacked(site: Site, part: Path | str, sha256: str, stem: str) -> tuple[str, int]:
    """Unpacks an archive, given as to ``keep``, into the cache; returns the path of the folder there, and the bytes in
    it.

    Raises NotUnpacked, SiteUnreachable, OSError.
    """
    folder = f"{content_folder(site, sha256)}.unpacked"
    archive = str(part)
    site.transport.make_folder(folder)
    is_brought = isinstance(part, Path) and not site.transport.is_local
    if isinstance(part, Path) and is_brought:
        archive = f"{site.root}/cache/.{sha256}.archive"
        site.transport.put(part, archive)
    try:
        command = [site.python, "-I", "-S", site.bring_agent(), "--unpack", archive, f"{folder}/{stem}"]
        done = site.transport.run(command, timeout_s=_UNPACK_S)
    finally:
        if is_brought:
            site.transport.remove(archive)
    if done.exit_code != 0:
        raise NotUnpacked(f"It cannot be unpacked at '{site.name}': {done.stderr.strip()[-300:]}.")
    return f"{folder}/{stem}", int(json.loads(done.stdout.splitlines()[-1])["bytes"])


def drop(site: Site, sha256: str) -> None:
    """Removes content. Renamed first, so that half of it is never in its place."""
    for folder in (content_folder(site, sha256), f"{content_folder(site, sha256)}.unpacked"):
        leaving = f"{site.root}/cache/.leaving-{Path(folder).name}"
        if site.transport.rename(folder, leaving):
            site.transport.run(["chmod", "-R", "u+w", "--", leaving])
            site.transport.remove(leaving)


def _run(site: Site, argv: list[str]) -> None:
    done = site.transport.run(argv)
    if done.exit_code != 0:
        raise OSError(f"'{argv[0]}' failed at '{site.name}': {done.stderr.strip()[-200:]}")
