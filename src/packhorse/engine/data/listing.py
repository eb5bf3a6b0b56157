"""What lies at a site: a file, or a folder with all that is in it."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from packhorse.sites.site import Site
from packhorse.staging.data import NotFetched, Trouble


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder of a folder of outputs; its name is relative to that, and empty for itself.

    Links are what they point to.
    """

    name: str
    is_file: bool
    mode: int


def look(site: Site, path: str) -> list[Found]:
    """What is at ``path``: itself, and all that is below it. Raises FileNotFoundError, NotFetched."""
    transport = site.transport
    if transport.is_local and Path(path).is_file():
        return [Found("", is_file=True, mode=stat.S_IMODE(Path(path).stat().st_mode))]
    said = transport.run(["find", "-L", path, "-printf", "%y %m %P\\0"], timeout_s=600.0)
    entries = [entry.split(" ", 2) for entry in said.stdout.split("\0")[:-1]]
    if not entries:
        raise FileNotFoundError(path)
    if odd := next((name for kind, _, name in entries if kind not in "fd"), None):
        raise NotFetched(Trouble.REFUSED, f"'{odd[:200]}' in it is neither a file nor a folder.")
    if said.exit_code != 0:
        why = (said.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("find: ")
        raise NotFetched(Trouble.REFUSED, f"It cannot be listed at '{site.name}': {why[:300]}.")
    return [Found(name, kind == "f", int(mode, 8)) for kind, mode, name in entries]
