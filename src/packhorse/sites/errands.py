"""Errands: long work at a site, in the background there, that outlives the engine and a broken connection (docs/spool.md).

The agent's file carries them out; what is told here is read from an errand's journal. Starting one again is always right: while it
lives, or once it has ended, that changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packhorse.sites.site import Site

_JOURNAL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """One command of an errand, or a ``fetch`` (docs/spool.md); ``what`` is what it does, in a word."""

    argv: Sequence[str]
    what: str
    env: Mapping[str, str] = field(default_factory=dict)
    fetch: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The step as the agent reads it."""
        if self.fetch is not None:
            return {"fetch": dict(self.fetch), "what": self.what}
        return {"argv": list(self.argv), "what": self.what, "env": dict(self.env)}


@dataclass(frozen=True, slots=True)
class ErrandStatus:
    """How far an errand is. ``heard`` changes whenever it says something; ``what`` and ``done_bytes`` are of the step under way."""

    heard: int
    what: str = ""
    done_bytes: int = 0
    ended: bool = False
    exit_code: int | None = None
    why: str | None = None
    """Why it did not end by itself: stopped, timeout, disk, spawn, or the kind of a failed fetch."""
    tail: str = ""
    """The last that the failing step said."""
    fetched: Mapping[str, Any] = field(default_factory=dict)
    """What its last fetch brought."""

    @property
    def succeeded(self) -> bool:
        return self.ended and self.exit_code == 0 and self.why is None


def folder_of(site: Site, name: str) -> str:
    """The folder of an errand."""
    return f"{site.root}/errands/{name}"


def authfile_of(site: Site, name: str) -> str:
    """Where an errand finds credentials of registries, if it was given some; it removes them when it ends."""
    return f"{folder_of(site, name)}/auth.json"


def start(
    site: Site, name: str, steps: Sequence[Step], *, watch: str, tmp: str, credentials: Mapping[str, Any] | None = None, timeout_s: float
) -> None:
    """Starts an errand, or makes sure that it lives. ``watch`` is what grows, ``tmp`` a folder that is there only meanwhile.

    Raises SiteUnreachable, and OSError with what the site said.
    """
    folder = folder_of(site, name)
    if not site.transport.exists(f"{folder}/errand.json"):
        site.transport.make_folder(folder)
        site.transport.run(["chmod", "700", folder])
        if credentials:
            site.transport.write(authfile_of(site, name), json.dumps(credentials).encode())
            site.transport.run(["chmod", "600", authfile_of(site, name)])
        document = {
            "version": 1, "watch": watch, "tmp": tmp, "timeout_s": timeout_s,
            "steps": [step.as_json() for step in steps],
        }  # fmt: skip
        site.transport.write(f"{folder}/errand.json", json.dumps(document).encode())
    done = site.transport.run([site.python, "-I", "-S", site.bring_agent(), "--errand", folder])
    if done.exit_code != 0:
        raise OSError(f"an errand could not be started at '{site.name}': {done.stderr.strip() or done.stdout.strip()}")


def look(site: Site, name: str) -> ErrandStatus:
    """What its journal says. Raises SiteUnreachable."""
    try:
        data = site.transport.read(f"{folder_of(site, name)}/journal.jsonl", 0, _JOURNAL_BYTES)
    except FileNotFoundError:
        return ErrandStatus(0)
    return read_journal(data)


def read_journal(data: bytes) -> ErrandStatus:
    """The status that an errand's journal tells; lines that are damaged count as never written."""
    what, done, ended = "", 0, None
    fetched: dict[str, Any] = {}
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        try:
            record = json.loads(line)
            kind = record["k"]
        except (ValueError, TypeError, KeyError):
            continue
        if kind == "errand":  # started, or started again after it had died
            what, done, ended = "", 0, None
        elif kind == "step":
            what, done = str(record.get("what", "")), 0
        elif kind == "beat":
            done = int(record.get("bytes") or 0)
        elif kind == "fetched":
            fetched = record
        elif kind == "end":
            ended = record
    if ended is None:
        return ErrandStatus(len(data), what, done)
    code, why = ended.get("exit"), ended.get("why")
    return ErrandStatus(len(data), what, done, True, code if isinstance(code, int) else None, why, str(ended.get("tail") or ""), fetched)


def stop(site: Site, name: str) -> None:
    """Ends an errand that is no longer wanted."""
    site.transport.write(f"{folder_of(site, name)}/stop", b"")


def remove(site: Site, name: str) -> None:
    """Removes what an errand that has ended leaves."""
    site.transport.remove(folder_of(site, name))
