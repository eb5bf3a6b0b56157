"""Reads the journals and beats of a site's allocations, all in one round trip (docs/spool.md).

A site whose files are ours is read here. At others the agent's file does the same, and answers in frames; one table of
cases holds both to it.
"""

from __future__ import annotations

import bisect
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from packhorse.domain.text import text_problem
from packhorse.sites.base import CommandResult
from packhorse.sites.site import Site

READ_BYTES = 2 << 20
"""At most of one journal at once; no line is so long."""
ANSWER_BYTES = 4 << 20
"""At most of all journals at once: it has to come over a slow line in time, and is held in memory."""
_BEAT_BYTES = 32
_LONGEST_NAME = 200
_TIMEOUT_S = 120.0

_log = structlog.get_logger("packhorse.sites")

File = tuple[str, str]
"""An allocation, and the name of a file in its journal folder; of the folder itself, that is empty."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be read.

    ``offsets`` are bytes, by allocation and agent; journals of agents that are not in them are read from their
    beginning. ``beats``: the beats as well. ``start`` is the file to begin with; None is any. Of one journal come at
    most ``each`` bytes, of all together ``all``; a journal that this leaves out is ``Journals.next``.
    """

    offsets: Mapping[str, Mapping[str, int]]
    beats: bool = False
    start: File | None = None
    each: int = READ_BYTES
    all: int = ANSWER_BYTES


@dataclass(slots=True)
class Journals:
    """What was read."""

    data: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Unread whole lines, by allocation and agent."""
    beats: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By allocation and agent; empty where it is just being written, or cannot be read."""
    unreadable: dict[File, str] = field(default_factory=dict)
    """What the system says of files that are there."""
    shortened: dict[File, int] = field(default_factory=dict)
    """The sizes of journals that are shorter than what was read of them before."""
    next: File | None = None
    """Where to start the next time, when something was left out, so that no journal always is."""

    def take(self, request: Request, head: Mapping[str, Any], data: bytes) -> None:
        """Takes one frame; a file that is no agent's is left out. Raises KeyError, TypeError, ValueError."""
        file = allocation, name = str(head["a"]), str(head["f"])
        agent, _, kind = name.rpartition(".")
        if allocation not in request.offsets or not _may_be_agents(name):
            return
        if kind == "beat":
            self.beats[allocation, agent] = data
        elif "error" in head:
            self.unreadable[file] = str(head["error"])
        elif "size" in head:
            self.shortened[file] = int(head["size"])
        else:
            self.data.setdefault(allocation, {})[agent] = data


def _may_be_agents(name: str) -> bool:
    return len(os.fsencode(name)) <= _LONGEST_NAME and text_problem(name) is None


class _NoRoom(Exception):
    """A journal has more to say than the answer still holds."""


def read_journals(site: Site, request: Request) -> Journals:
    """Reads on in the journals of allocations, in one command at the most.

    A file that cannot be read keeps no other from being read. Raises SiteUnreachable, and OSError with what the site
    said.
    """
    spools = f"{site.root}/spool"
    return _read_here(site, spools, request) if site.transport.is_local else _ask(site, spools, request)


# --- at a site that is far away -------------------------------------------------------------------


def _ask(site: Site, spools: str, request: Request) -> Journals:
    command = [site.python, "-I", "-S", site.agent_path, "--journals", spools]
    wanted = json.dumps(asdict(request)).encode("ascii")

    def run() -> CommandResult:
        return site.transport.run(command, timeout_s=_TIMEOUT_S, stdin=wanted)

    done = run()
    if done.exit_code != 0 and not site.transport.exists(site.agent_path):
        _log.warning("agent_file_missing", site=site.name, path=site.agent_path, what="it is copied there")
        site.bring_agent()
        done = run()
    if done.exit_code != 0:
        says = done.stderr.strip()[-500:] or f"exit code {done.exit_code}"
        raise OSError(f"The journals at '{site.name}' cannot be read: {says}")
    try:
        return parse_answer(done.stdout.encode("utf-8", "surrogateescape"), request)
    except ValueError as error:
        raise OSError(f"The journals at '{site.name}' cannot be read: {error}.") from None


def parse_answer(answer: bytes, request: Request) -> Journals:
    """Takes an answer apart. Raises ValueError where it is damaged or not whole: then nothing of it counts."""
    found = Journals()
    at = 0
    while (end := answer.find(b"\n", at)) >= 0:
        try:
            head = json.loads(answer[at:end])
            if head.get("end"):
                found.next = (str(head["next"][0]), str(head["next"][1])) if head["next"] else None
                return found
            at = end + 1 + int(head["n"])
            if not end < at <= len(answer):
                break
            found.take(request, head, answer[end + 1 : at])
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise ValueError(f"their answer is damaged after {at} bytes") from None
    raise ValueError(f"their answer ends in the middle, after {len(answer)} bytes")


# --- at a site whose files are ours ---------------------------------------------------------------


def _read_here(site: Site, spools: str, request: Request) -> Journals:
    found = Journals()
    files: list[File] = []
    for allocation in request.offsets:
        try:
            names = site.transport.names(f"{spools}/{allocation}/journal")
        except OSError as error:
            found.unreadable[allocation, ""] = str(error.strerror)
            continue
        files += [(allocation, name) for name in names if _may_be_agents(name)]
    files.sort()
    first = bisect.bisect_left(files, request.start or ("", ""))
    left = request.all
    for allocation, name in files[first:] + files[:first]:
        head = {"a": allocation, "f": name}
        try:
            data = _read(f"{spools}/{allocation}/journal/{name}", head, request, left)
        except FileNotFoundError:
            continue
        except _NoRoom:
            found.next = found.next or (allocation, name)
            continue
        except OSError as error:
            head["error"], data = str(error.strerror), b""
        if data is not None:
            left -= 0 if name.endswith(".beat") else len(data)
            found.take(request, head, data)
    return found


def _read(path: str, head: dict[str, Any], request: Request, left: int) -> bytes | None:
    """What there is of a file; None where that is nothing. Raises _NoRoom, OSError."""
    agent, _, kind = str(head["f"]).rpartition(".")
    if kind == "beat" and request.beats:
        return _piece(path, 0, _BEAT_BYTES, _BEAT_BYTES)[0]
    if kind != "jsonl":
        return None
    offset = request.offsets[head["a"]].get(agent, 0)
    data, size = _piece(path, offset, request.each, left)
    if size < offset:
        head["size"] = size
        return b""
    whole = data.rfind(b"\n") + 1
    if not whole and len(data) == request.each:
        return data  # no line is so long
    return data[:whole] or None


def _piece(path: str, offset: int, most: int, left: int) -> tuple[bytes, int]:
    """(at most ``most`` bytes from ``offset`` on, size of the file). Raises _NoRoom, OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(file)  # not os.stat: a network filesystem asks its server when a file is opened
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(path)
        wanted = max(0, min(status.st_size - offset, most))
        if wanted > left:
            raise _NoRoom
        return os.pread(file, wanted, offset), status.st_size
    finally:
        os.close(file)
