"""Logs of jobs: what is reported as lines, what jobs print, and what becomes of them on their way, as one log.

Lines have numbers from 0 on that never change. What a job prints lies in the log of its agent, and its transitions in
the store; when somebody asks for its log, what is new of both is appended to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import InvalidRequest, PackhorseError, TooLarge
from packhorse.domain.joblog import LogLine, Piece, lines_of, pieces, take_lines
from packhorse.domain.kbase import truth
from packhorse.domain.states import TERMINAL, TaskState
from packhorse.domain.views import LogPart
from packhorse.engine.requests.documents import waits_for_images, waits_for_one
from packhorse.engine.requests.taskout import read_log
from packhorse.sites.site import Site
from packhorse.store.database import Database
from packhorse.store.images import wants_of
from packhorse.store.kbase.jobs import reported_of
from packhorse.store.kbase.logs import append_pieces, append_told, pieces_from
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.stepdata import awaited_by_steps
from packhorse.store.tasks import events_of, get_task
from packhorse.store.together import Together

MAX_LINES = 200_000  # in one request
PAGE_LINES = 10_000  # where the request names no limit, or a larger one
PAGE_CHARACTERS = 2_000_000
_READ_BYTES = 4 << 20
_FOLLOW_S = 2.0  # for what a job has printed meanwhile; the rest comes with the next page
_STREAMS = (("stdout", False), ("stderr", True))

New = tuple[int, Sequence[Piece]]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines from a number on; ``following`` is where to go on, ``count`` how many there are in all."""

    lines: list[dict[str, Any]]
    following: int
    count: int


class JobLogs:
    """The logs of jobs. Many writers come together: their lines share transactions (``store.together``)."""

    def __init__(self, database: Database, sites: Mapping[str, Site]) -> None:
        self._database = database
        self._sites = sites
        self._together = Together[New, int](database, append_pieces, lambda new: len(new[1]) + 1)

    def add(self, task: int, lines: Any) -> int:
        """Appends lines of a request; returns how many the log has then. Raises InvalidRequest, TooLarge."""
        return self._together.write((task, list(pieces(log_lines(lines)))))

    def page(self, task: int, skip: int, limit: int | None, missing: Callable[[], PackhorseError]) -> LogPage:
        """Lines from number ``skip`` on. Raises ``missing`` where there is no log yet."""
        most = PAGE_LINES if limit is None else max(1, min(limit, PAGE_LINES))
        count = self._follow(task, skip + most)
        if not count:
            raise missing()
        found: list[dict[str, Any]] = []
        size = 0
        with self._database.read_through() as connection:
            for piece in pieces_from(connection, task, skip):
                if piece.first + piece.lines <= skip:
                    continue
                for number, line in enumerate(lines_of(piece.data), start=piece.first):
                    if number < skip:
                        continue
                    found.append(_shown(number, line))
                    size += len(line.text)
                    if len(found) >= most or size >= PAGE_CHARACTERS:
                        return LogPage(found, number + 1, count)
        return LogPage(found, min(skip, count) + len(found), count)

    # --- what a job prints, and what becomes of it ------------------------------------------------------------

    def _follow(self, task: int, wanted: int) -> int:
        """Appends what is new, until the log has ``wanted`` lines, or nothing more is there now; how many it has."""
        give_up = time.monotonic() + _FOLLOW_S
        while True:
            with self._database.read() as connection:
                reported = reported_of(connection, [task]).get(task)
                row = get_task(connection, task)
                events = events_of(connection, task)
                waits = _waits(connection, row)
            count = 0 if reported is None else int(reported.lines)
            if row is None or count >= wanted:
                return count
            before = None if reported is None else reported.told
            told = json.loads(before) if before else {}
            lines, up_to = self._new(row, events, told)
            if waits is not None and waits[0] != up_to.get("waits"):
                lines.append(LogLine(waits[1], int(time.time() * 1000)))
                up_to["waits"] = waits[0]
            if up_to == told:
                return count
            some = list(pieces(lines))
            with self._database.write() as connection:
                done = append_told(connection, task, some, before, up_to)
            count += sum(piece.lines for piece in some) if done else 0
            if time.monotonic() > give_up:
                return count

    def _new(self, row: Any, events: Sequence[Any], told: dict[str, Any]) -> tuple[list[LogLine], dict[str, Any]]:
        """Lines that are new since ``told``, and up to where that is: events first, until the start of an attempt, then
        what it prints, then the events that follow.
        """
        up_to = dict(told)
        lines: list[LogLine] = []
        attempt = int(up_to.get("attempt", 0))
        for event in events:
            if event.id <= up_to.get("event", 0):
                continue
            if attempt and event.attempt >= attempt and event.to_state != TaskState.RUNNING and not self._is_read(
                row, attempt, lines, up_to
            ):  # fmt: skip
                return lines, up_to
            lines += _told_of(event)
            up_to["event"] = event.id
            if event.to_state == TaskState.RUNNING:
                attempt = up_to["attempt"] = int(event.attempt)
                up_to["stdout"] = up_to["stderr"] = 0
        if attempt == row.attempt and attempt:
            self._is_read(row, attempt, lines, up_to)
        return lines, up_to

    def _is_read(self, row: Any, attempt: int, lines: list[LogLine], up_to: dict[str, Any]) -> bool:
        """Adds a piece of what an attempt printed to ``lines``; whether that was all, and no more follows."""
        ended = True
        for stream, is_error in _STREAMS:
            part = self._part(row, stream, int(up_to.get(stream, 0)), attempt)
            if part is None:
                return False
            texts, taken = take_lines(part.data, whole=part.ended)
            now = int(time.time() * 1000)
            lines += [LogLine(text, now, is_error) for text in texts]
            up_to[stream] = int(up_to.get(stream, 0)) + taken
            ended = ended and part.ended and taken == len(part.data)
        return ended

    def _part(self, row: Any, stream: str, offset: int, attempt: int) -> LogPart | None:
        """None where what was printed cannot be had now: it comes with a later page."""
        try:
            return read_log(self._database, self._sites, row, stream, offset, _READ_BYTES, attempt)
        except (PackhorseError, OSError):
            return None


def _waits(connection: sa.Connection, row: Any) -> tuple[str, str] | None:
    """(what kind of thing, in words) a queued job waits for besides its turn: images and data on their way."""
    if row is None or row.state != TaskState.QUEUED:
        return None
    if (
        words := waits_for_images(wants_of(connection, [row.id // TASKS_PER_RUN])[row.id // TASKS_PER_RUN])
    ) is not None:
        return "image", words
    needs = awaited_by_steps(connection, [row.step_seq])
    return ("data", waits_for_one(needs[row.step_seq])) if needs else None


def log_lines(lines: Any) -> list[LogLine]:
    """The lines of a request. Raises InvalidRequest, TooLarge."""
    if not isinstance(lines, list):
        raise InvalidRequest("The lines of a log must be a list")
    if len(lines) > MAX_LINES:
        raise TooLarge(f"{len(lines):,} lines come at once; the limit is {MAX_LINES:,}. Send them in several requests.")
    now = int(time.time() * 1000)
    found = []
    for number, one in enumerate(lines):
        text = one.get("line") if isinstance(one, dict) else None
        if not isinstance(text, str):
            raise InvalidRequest(f"Line {number} of the log has no 'line', which must be a string")
        found.append(LogLine(text, _at_ms(one.get("ts"), now), truth(one.get("is_error"))))
    return found


def _at_ms(given: Any, now: int) -> int:
    """Milliseconds since the epoch, of a number or a text in seconds or milliseconds; ``now`` for all else."""
    try:
        value = float(given)
    except (TypeError, ValueError):
        return now
    if not 0 < value < 1e14:
        return now
    return int(value if value > 1e11 else value * 1000)


def _shown(number: int, line: LogLine) -> dict[str, Any]:
    return {"line": line.text, "linepos": number, "is_error": int(line.is_error), "ts": line.at_ms}


_WORDS = {
    TaskState.INITIALIZING: "The job has its place in an allocation.",
    TaskState.RUNNING: "The job runs.",
    TaskState.COMPLETE: "The job is complete.",
    TaskState.CANCELING: "The job is being canceled.",
    TaskState.CANCELED: "The job was canceled.",
}


def _told_of(event: Any) -> list[LogLine]:
    """What a transition means for people."""
    state = TaskState(event.to_state)
    if event.from_state is None:
        words = "The job was accepted; it waits for its turn."
    elif state in _WORDS:
        words = f"{_WORDS[state]} {event.why or ''}".strip()
    elif state is TaskState.QUEUED:
        words = f"The job waits again: {event.why or 'it was given back'}"
    else:
        words = f"The job failed: {event.why or state}"
    is_error = state in TERMINAL - {TaskState.COMPLETE, TaskState.CANCELED}
    return [LogLine(text, int(event.at * 1000), is_error) for text in words.splitlines()]
