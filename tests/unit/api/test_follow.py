"""Following a log over server-sent events: nothing missed, nothing twice, whatever the pieces are."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.api import follow
from packhorse.api.follow import Encoding, Follower, LogPosition
from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError, Unavailable
from packhorse.domain.states import TaskState
from packhorse.domain.views import LogPart

Event = tuple[str, str | None, Any]


class Logs:
    """A service with one task that writes ``pieces``, one at each look, and refuses now and then."""

    def __init__(self, pieces: list[bytes | PackhorseError], started_after: int = 0) -> None:
        self.pieces = pieces
        self.data = b""
        self.started_after = started_after

    def task(self, _task: str) -> Any:
        self.started_after -= 1
        return SimpleNamespace(attempt=0 if self.started_after >= 0 else 1, state=TaskState.RUNNING)

    def log(self, _task: str, _stream: str, offset: int, _attempt: int | None, *, limit: int) -> LogPart:
        if self.pieces:
            piece = self.pieces.pop(0)
            if isinstance(piece, PackhorseError):
                raise piece
            self.data += piece
        part = self.data[offset : offset + limit]
        return LogPart(part, offset + len(part), not self.pieces and offset + len(part) == len(self.data))


def events(
    logs: Logs,
    encoding: Encoding = "base64",
    position: LogPosition | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Event]:
    """(name, id, data) of every event until the end."""
    follower = Follower(logs, "r-x.0", "stdout", position or LogPosition(None, 0), encoding, stopping)  # type: ignore[arg-type]

    async def collect() -> bytes:
        return b"".join([piece async for piece in follower.events()])

    found: list[Event] = []
    for block in asyncio.run(collect()).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith((":", "retry")))
        if fields:
            found.append((fields.get("event", "message"), fields.get("id"), json.loads(fields["data"])))
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "PAUSE_S", (0.0, 0.0))


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_the_bytes_arrive_as_they_were_written(pieces: list[bytes]) -> None:
    follow.PAUSE_S = (0.0, 0.0)
    found = events(Logs(list(pieces)))
    assert b"".join(base64.b64decode(data) for name, _, data in found if name == "message") == b"".join(pieces)
    assert [name for name, _, _ in found].count("end") == 1


@given(st.text(), st.integers(1, 5))
def test_a_character_that_is_cut_is_put_together(text: str, length: int) -> None:
    follow.PAUSE_S = (0.0, 0.0)
    written = text.encode("utf-8", "replace")
    found = events(Logs([written[at : at + length] for at in range(0, len(written), length)]), "text")
    assert "".join(data for name, _, data in found if name == "message") == written.decode()


@pytest.mark.parametrize("written", [b"\xff\xfe", b"ok\xe2\x82", b"\x80\x80\x80\x80", b"a\r\nb\r"])
def test_what_is_not_utf8_is_replaced_and_the_log_still_ends(written: bytes) -> None:
    found = events(Logs([written]), "text")
    assert found[-1] == ("end", f"1:{len(written)}", {"offset": len(written)})
    assert "".join(data for name, _, data in found if name == "message") == written.decode("utf-8", "replace")


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_client_that_comes_back_misses_nothing(written: bytes, data: st.DataObject) -> None:
    follow.PAUSE_S = (0.0, 0.0)
    first = events(Logs([written[:5], written[5:]]))
    seen = data.draw(st.integers(0, len(first) - 1))
    before = b"".join(base64.b64decode(part) for name, _, part in first[:seen] if name == "message")
    position = LogPosition.parse(first[seen - 1][1] if seen else None, None)
    after = b"".join(
        base64.b64decode(part) for name, _, part in events(Logs([written]), position=position) if name == "message"
    )
    assert before + after == written


def test_a_task_that_has_not_started_is_waited_for() -> None:
    assert [name for name, _, _ in events(Logs([b"x"], started_after=3))] == ["message", "end"]


def test_a_database_that_is_away_is_waited_for() -> None:
    assert [name for name, _, _ in events(Logs([b"x", Unavailable("away"), b"y"]))] == ["message", "message", "end"]


def test_a_refusal_in_between_is_an_event() -> None:
    name, _, data = events(Logs([b"x", NotFound("It is gone.")]))[-1]
    assert (name, data["error"]["code"]) == ("error", "not_found")


def test_a_server_that_stops_ends_the_answer_without_an_end() -> None:
    looks = iter([False, False, True])
    assert "end" not in [name for name, _, _ in events(Logs([b"x", b"y", b"z"]), stopping=lambda: next(looks))]


@pytest.mark.parametrize(
    ("text", "position"),
    [("7", LogPosition(None, 7)), ("2:7", LogPosition(2, 7)), (None, LogPosition(None, 0)), ("", LogPosition(None, 0))],
)
def test_positions(text: str | None, position: LogPosition) -> None:
    assert LogPosition.parse(text, None) == position


@pytest.mark.parametrize("text", ["x", "-1", "1:", ":", "1:x", "1:2:3", "9" * 50, "1.5"])
def test_positions_that_are_not_ours(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Last-Event-ID"):
        LogPosition.parse(text, None)
