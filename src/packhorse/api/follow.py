"""A task's log as server-sent events, while the task runs.

Each event's id is ``ATTEMPT:OFFSET``, the position where the next byte will be; a client that sends it back as
``Last-Event-ID`` misses and repeats nothing. Data is one JSON string: base64 of the bytes, or text with what is not
UTF-8 replaced. The last event is ``end``.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.concurrency import run_in_threadpool

from packhorse.api.errors import error_document, log_failure
from packhorse.domain.errors import InvalidRequest, PackhorseError, Unavailable
from packhorse.domain.states import TERMINAL
from packhorse.domain.text import dumps
from packhorse.domain.views import LogPart
from packhorse.engine.requests.service import UserService

Encoding = Literal["text", "base64"]

PAUSE_S = (0.1, 1.0)
HEARTBEAT_S = 15.0
_PART_BYTES = 256 * 1024


@dataclass(slots=True)
class LogPosition:
    """Where in a task's output a follower is. Attempt None: not started yet."""

    attempt: int | None
    offset: int

    @classmethod
    def parse(cls, text: str | None, attempt: int | None) -> LogPosition:
        """The position in a ``Last-Event-ID``: ``ATTEMPT:OFFSET``, or ``OFFSET`` alone."""
        if not text:
            return cls(attempt, 0)
        before, _, offset = text.rpartition(":")
        if not offset.isdecimal() or not (before.isdecimal() or not before) or len(text) > 40:
            raise InvalidRequest(
                f"Last-Event-ID '{text[:40]}' is not one of ours.", hint="Leave it out to begin at the beginning."
            )
        return cls(int(before) if before else attempt, int(offset))

    def __str__(self) -> str:
        return f"{self.attempt or 1}:{self.offset}"


class Follower:
    """Follows one stream of one attempt of a task: the one asked for, else the last that had begun, else the first."""

    def __init__(
        self,
        service: UserService,
        task_id: str,
        stream: str,
        position: LogPosition,
        encoding: Encoding,
        stopping: Callable[[], bool],
    ) -> None:
        self._service = service
        self._task_id = task_id
        self._stream = stream
        self._position = position
        self._encoding = encoding
        self._stopping = stopping

    def check(self) -> None:
        """Refuses before the answer begins what would be refused while following."""
        self._service.log(self._task_id, self._stream, self._position.offset, self._position.attempt, limit=1)

    async def events(self) -> AsyncIterator[bytes]:
        """The events, until the attempt has ended and all of its output was sent.

        One that ends without ``end`` may be asked for again.
        """
        pause_s, silent_since = PAUSE_S[0], time.monotonic()
        yield b"retry: 1000\n\n"
        while not self._stopping():
            try:
                part = await run_in_threadpool(self._read)
            except Unavailable:
                part = None  # it will be back
            except PackhorseError as error:
                yield event_bytes("error", None, error_document(error))
                return
            except Exception:
                log_failure("follow_failed", task=self._task_id)
                return
            text = self._encoded(part) if part is not None else ""
            if text:
                yield event_bytes(None, str(self._position), text)
                pause_s, silent_since = PAUSE_S[0], time.monotonic()
            if part is not None and part.ended:
                yield event_bytes("end", str(self._position), {"offset": self._position.offset})
                return
            if time.monotonic() - silent_since >= HEARTBEAT_S:
                yield b": still here\n\n"
                silent_since = time.monotonic()
            if not text:
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_S[1], pause_s * 1.5)

    def _read(self) -> LogPart | None:
        """The next piece; None while the task has not started."""
        if self._position.attempt is None:
            task = self._service.task(self._task_id)
            if not task.attempt and task.state not in TERMINAL:
                return None
            self._position.attempt = task.attempt or None
        return self._service.log(
            self._task_id, self._stream, self._position.offset, self._position.attempt, limit=_PART_BYTES
        )

    def _encoded(self, part: LogPart) -> str:
        """What to send of ``part``, the position moved behind it."""
        data = part.data
        if self._encoding == "text" and not part.ended:
            data = data[: len(data) - _begun_character(data)]
        self._position.offset = part.next_offset - (len(part.data) - len(data))
        return data.decode("utf-8", "replace") if self._encoding == "text" else base64.b64encode(data).decode()


def _begun_character(data: bytes) -> int:
    """How many bytes at the end of ``data`` begin a UTF-8 character that is not complete."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # not a continuation byte
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if length > back else 0
    return 0


def event_bytes(name: str | None, event_id: str | None, data: object) -> bytes:
    """A server-sent event; its data is JSON."""
    lines = [f"event: {name}"] if name else []
    if event_id is not None:
        lines.append(f"id: {event_id}")
    lines.append(f"data: {dumps(data)}")
    return ("\n".join(lines) + "\n\n").encode()
