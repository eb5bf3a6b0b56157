"""Background jobs: long work at a site that outlives the engine and a broken connection (docs/spool.md).

The agent's file carries them out; what is told here is read from a job's journal. Starting one again is always right:
while it lives, or once it has ended, that changes nothing. What is on disk keeps its older name, `errand`: jobs that
another version has started are still understood.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from packhorse.domain.text import holdable_value, kept_json
from packhorse.sites.environment import Purpose
from packhorse.sites.site import Site

_JOURNAL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a background job, or a ``fetch`` (docs/spool.md); ``what`` is what it does, in a word."""

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
class BackgroundStatus:
    """How far a background job is.

    ``heard`` are the bytes of its journal that say so; ``what`` and ``done_bytes`` are of the step under way.
    """

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
    """The folder of a background job."""
    return f"{site.root}/errands/{name}"


def authfile_of(site: Site, name: str) -> str:
    """Where a background job finds credentials of registries, if it was given some; it removes them when it ends."""
    return f"{folder_of(site, name)}/auth.json"


def start(
    site: Site,
    name: str,
    steps: Sequence[Step],
    *,
    watch: str,
    tmp: str,
    credentials: Mapping[str, Any] | None = None,
    timeout_s: float,
) -> None:
    """Starts a background job, or makes sure that it lives.

    ``watch`` is what grows, ``tmp`` a folder that is there only meanwhile.

    Raises SiteUnreachable, and OSError with what the site said.
    """
    folder = folder_of(site, name)
    if not site.transport.exists(f"{folder}/errand.json"):
        site.transport.make_folder(folder)
        site.transport.run(["chmod", "700", folder])
        if credentials:
            site.transport.write(authfile_of(site, name), kept_json(credentials).encode())
            site.transport.run(["chmod", "600", authfile_of(site, name)])
        document = {
            "version": 1, "watch": watch, "tmp": tmp, "timeout_s": timeout_s,
            "steps": [step.as_json() for step in steps],
        }  # fmt: skip
        site.transport.write(f"{folder}/errand.json", kept_json(document).encode())
    done = site.transport.run(
        [site.python, "-I", "-S", site.bring_agent(), "--background", folder], purpose=Purpose.BACKGROUND
    )
    if done.exit_code != 0:
        raise OSError(
            f"a background job could not be started at '{site.name}': {done.stderr.strip() or done.stdout.strip()}"
        )


def look(site: Site, name: str, seen: BackgroundStatus | None = None) -> BackgroundStatus:
    """What its journal says, read on from where it was ``seen``: of a background job that goes on for a day it is long.

    Raises SiteUnreachable.
    """
    status = seen or BackgroundStatus(0)
    while True:
        try:
            data = site.transport.read(f"{folder_of(site, name)}/journal.jsonl", status.heard, _JOURNAL_BYTES)
        except FileNotFoundError:
            return BackgroundStatus(0)
        heard = status.heard
        status = read_journal(data, status)
        if len(data) < _JOURNAL_BYTES or status.heard == heard:
            return status


def read_journal(data: bytes, seen: BackgroundStatus | None = None) -> BackgroundStatus:
    """The status that the next ``data`` of a journal tells; lines that are damaged count as never written."""
    status = before = seen or BackgroundStatus(0)
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.splitlines():
        try:
            record = holdable_value(json.loads(line.decode()))
            status = _after(status, record["k"], record)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            continue
    return replace(status, heard=before.heard + len(whole))


def _after(status: BackgroundStatus, kind: str, record: Mapping[str, Any]) -> BackgroundStatus:
    """The status after one record."""
    match kind:
        case "errand":  # started, or started again after it had died
            return BackgroundStatus(0, fetched=status.fetched)
        case "step":
            return replace(status, what=str(record.get("what", "")), done_bytes=0)
        case "beat":
            return replace(status, done_bytes=int(record.get("bytes") or 0))
        case "fetched":
            return replace(status, fetched=record)
        case "end":
            code, why = record.get("exit"), record.get("why")
            tail = str(record.get("tail") or "")
            return replace(status, ended=True, exit_code=code if isinstance(code, int) else None, why=why, tail=tail)
    return status


def stop(site: Site, name: str) -> None:
    """Ends a background job that is no longer wanted."""
    site.transport.write(f"{folder_of(site, name)}/stop", b"")


def remove(site: Site, name: str) -> None:
    """Removes what a background job that has ended leaves."""
    site.transport.remove(folder_of(site, name))
