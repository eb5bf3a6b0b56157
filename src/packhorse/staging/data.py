"""How data gets to a site, as a state machine. Pure: the engine carries out, and reports here what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import unquote

from packhorse.domain.backoff import wait_after
from packhorse.domain.outputurl import as_text, file_target
from packhorse.domain.states import DataState

MAX_BACKOFF_S = 600.0
FIRST_BACKOFF_S = 1.0
SITE_WAIT_S = 5.0
#: Tries again after content that was not what was promised.
WRONG_RETRIES = 3
#: Tries again, without one more byte in between, where nobody answers: a bit more than an hour.
AWAY_RETRIES = 14


class Trouble(StrEnum):
    """Why data was not fetched, by what one does about it."""

    AWAY = "away"
    """Source or site do not answer, break off, or have no room now. It is tried again, where it stopped."""
    WRONG = "wrong"
    """What came is not what was promised: another size or checksum. It is tried again from the beginning."""
    SITE = "site"
    """The site it is to go to does not answer. That is waited for, however long: the data is not to blame."""
    REFUSED = "refused"
    """It is not there, or not for us. Trying again would not help."""


class NotFetched(Exception):
    """Data that could not be brought; the message is a sentence about it without its URL, and holds no secret.

    ``after_s``: its server wants to be left alone for that long.
    """

    def __init__(self, trouble: Trouble, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.message = message
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Fetch:
    """One URL on its way to one site. ``not_before`` is seconds since the epoch."""

    state: DataState = DataState.QUEUED
    tries: int = 0
    """Failures in a row, nobody answering, without one more byte."""
    wrong: int = 0
    """How often all of it came, and was wrong."""
    not_before: float = 0.0
    bytes_done: int = 0
    best_bytes: int = 0
    """The most that was there when it failed."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """Somebody fetches it now."""


@dataclass(frozen=True, slots=True)
class Came:
    """More bytes came; ``bytes_done`` of it are there."""

    bytes_done: int


@dataclass(frozen=True, slots=True)
class Complete:
    """All bytes came; they are checked and put into the cache."""


@dataclass(frozen=True, slots=True)
class Stored:
    """It is in the cache, and its content is as it should be."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be brought this time."""

    trouble: Trouble
    message: str
    after_s: float = 0.0
    """It is not tried again before that, within what any try waits."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The engine that fetched it has ended: nobody's fault."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Nobody waits for it any more."""


Event = Begun | Came | Complete | Stored | Failed | Interrupted | Unwanted


def advance(fetch: Fetch, event: Event, now: float) -> Fetch:
    """The next state. An event that does not suit the state (a report that comes late) changes nothing."""
    under_way = fetch.state in (DataState.FETCHING, DataState.VERIFYING)
    match event:
        case Begun() if fetch.state is DataState.QUEUED:
            return replace(fetch, state=DataState.FETCHING)
        case Came(bytes_done) if fetch.state is DataState.FETCHING:
            return replace(fetch, bytes_done=bytes_done)
        case Complete() if fetch.state is DataState.FETCHING:
            return replace(fetch, state=DataState.VERIFYING)
        case Stored() if under_way:
            return replace(fetch, state=DataState.READY, error=None)
        case Failed() if under_way:
            return _after_failure(fetch, event, now)
        case Interrupted() if under_way:
            return replace(fetch, state=DataState.QUEUED, not_before=now)
        case Unwanted() if fetch.state not in (DataState.READY, DataState.FAILED):
            return replace(fetch, state=DataState.FAILED, error="Nobody waits for it any more.")
    return fetch


def _after_failure(fetch: Fetch, failed_as: Failed, now: float) -> Fetch:
    """Back to the queue for another try, or the end."""
    trouble, message = failed_as.trouble, failed_as.message
    best = max(fetch.best_bytes, fetch.bytes_done)
    if trouble is Trouble.SITE:
        return replace(fetch, state=DataState.QUEUED, not_before=now + SITE_WAIT_S, error=message)
    if trouble is Trouble.WRONG:
        failed = replace(fetch, wrong=fetch.wrong + 1, bytes_done=0, best_bytes=0)
        used, allowed = failed.wrong, WRONG_RETRIES
    elif trouble is Trouble.AWAY:
        failed = replace(fetch, tries=1 if fetch.bytes_done > fetch.best_bytes else fetch.tries + 1, best_bytes=best)
        used, allowed = failed.tries, AWAY_RETRIES
    else:
        failed, used, allowed = fetch, 1, 0
    if used > allowed:
        after = f" It was tried {used} times." if allowed else ""
        return replace(failed, state=DataState.FAILED, error=f"{message}{after}")
    delay_s = max(wait_after(used, FIRST_BACKOFF_S, MAX_BACKOFF_S), min(failed_as.after_s, MAX_BACKOFF_S))
    return replace(failed, state=DataState.QUEUED, not_before=now + delay_s, error=message)


def subject(url: str) -> str:
    """What a user is told that data is, within a sentence."""
    scheme, _, rest = url.partition(":")
    match scheme:
        case "app":
            return f"the folder of the app '{rest}'"
        case "file":
            return f"the file '{as_text(file_target(url))}'"
        case "output":
            site, run_id, index, path = rest.split("/", 3)
            return f"the output '{as_text(unquote(path))}' of task {run_id}.{index} at '{site}'"
        case "results":
            return "the table of the results that it reads"
        case _:
            return url


def waits_for(url: str, state: str, bytes_done: int, size: int | None, error: str | None) -> str:
    """What a task that waits for data is told."""
    what = subject(url)
    if error is not None:
        return f"Waits for {what}, which did not come yet: {error}"
    if state == DataState.VERIFYING:
        return f"Waits for {what}: it is being checked."
    if state == DataState.QUEUED:
        return f"Waits for {what}: it is to be {'fetched' if what == url else 'brought'}."
    of = f"{_megabytes(bytes_done)} of {_megabytes(size)}" if size is not None else _megabytes(bytes_done)
    return f"Waits for {what}: {of} MB."


def _megabytes(number: int) -> str:
    return f"{number / 1e6:.3g}" if number < 1e9 else f"{number / 1e6:.0f}"
