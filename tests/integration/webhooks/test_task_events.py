"""Webhooks that are told of tasks: in batches, to those alone who ask for them, at a bounded cost; either database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.engine.requests.cancel import cancel_all
from packhorse.engine.webhooks.webhookloop import MOST_TRIES
from packhorse.store.taskevents import MOST
from tests.fixtures.room import make_app, wait_for
from tests.fixtures.stores import counted_statements, ids_of, move_tasks
from tests.integration.webhooks.test_webhooks import Receiver, Room, receiver, room

__all__ = ["receiver", "room"]

TASKS = ("task.started", "task.ended")
S = TaskState


def batches(receiver: Receiver) -> list[list[dict[str, Any]]]:
    """The events of each request; one of a run is alone."""
    return [json.loads(body) if body[:1] == b"[" else [json.loads(body)] for _, body in receiver.taken]


def told(receiver: Receiver) -> list[str]:
    return [event["id"] for batch in batches(receiver) for event in batch]


def send_all(room: Room) -> None:
    for _ in range(20):
        if room.count():
            room.send()
    assert room.count() == 0


def move(room: Room, ids: list[int], *states: TaskState) -> None:
    with room.database.write() as connection:
        move_tasks(connection, [(task, state) for task in ids for state in states])


def test_tasks_are_told_between_the_events_of_their_run(room: Room, receiver: Receiver, tmp_path: Path) -> None:
    room.hook(receiver.url, "submitted", "ended", *TASKS)
    app = make_app(tmp_path / "app", command='[/bin/sh, -c, "exit {i}"]')
    run = room.embedded.service.as_user(User("alice", admin=True)).submit(AppRun(app=app, over=[{"i": 0}, {"i": 3}]))
    with room.embedded.run_engine():
        wait_for(lambda: f"{run.id}.ended" in told(receiver), 60, "the end")
    ids = told(receiver)
    assert ids[0] == f"{run.id}.submitted" and ids[-1] == f"{run.id}.ended"
    assert sorted(ids[1:-1]) == sorted(
        f"{run.id}.{index}.{what}.1" for index in (0, 1) for what in ("started", "ended")
    )
    for index in (0, 1):
        assert ids.index(f"{run.id}.{index}.started.1") < ids.index(f"{run.id}.{index}.ended.1")
    events = {event["id"]: event for batch in batches(receiver) for event in batch}
    good, bad = (events[f"{run.id}.{index}.ended.1"] for index in (0, 1))
    assert (good["type"], good["subject"], good["source"]) == (
        "org.packhorse.task.ended", f"{run.id}.0", "/api/v1/tasks",
    )  # fmt: skip
    assert (good["data"]["state"], good["data"]["exit_code"], good["data"]["reason"]) == ("COMPLETE", 0, None)
    assert (bad["data"]["state"], bad["data"]["exit_code"], bad["data"]["failure"]) == ("EXECUTOR_ERROR", 3, "app")
    assert bad["data"]["run"] == run.id and bad["data"]["index"] == 1 and bad["data"]["user"] == "alice"
    for (headers, body), batch in zip(receiver.taken, batches(receiver), strict=True):
        kind = "application/cloudevents-batch+json" if body[:1] == b"[" else "application/cloudevents+json"
        assert headers["Content-Type"].startswith(kind)
        assert headers["webhook-id"] == (f"batch.{batch[0]['id']}" if body[:1] == b"[" else batch[0]["id"])


def test_thousands_that_move_together_are_a_few_rows_and_requests(room: Room, receiver: Receiver) -> None:
    room.hook(receiver.url, *TASKS)
    seq = room.run(3000)
    ids = ids_of(seq, range(3000))
    move(room, ids, S.INITIALIZING, S.RUNNING)
    assert room.count() == 3000 / MOST
    move(room, ids, S.COMPLETE)
    send_all(room)
    assert len(told(receiver)) == 6000 == len(set(told(receiver)))
    assert receiver.asked == 6000 / MOST and max(map(len, batches(receiver))) == MOST


def test_small_pieces_go_together(room: Room, receiver: Receiver) -> None:
    room.hook(receiver.url, "task.ended")
    seq = room.run(30)
    for task in ids_of(seq, range(30)):
        move(room, [task], S.INITIALIZING, S.RUNNING, S.COMPLETE)
    assert room.count() == 30
    room.send()
    assert receiver.asked == 1 and len(told(receiver)) == 30 and room.count() == 0


def test_a_run_that_is_canceled_whole_is_one_row(room: Room, receiver: Receiver) -> None:
    room.hook(receiver.url, "ended", *TASKS)
    seq = room.run(2 * MOST + 7)
    with room.database.write() as connection:
        cancel_all(connection, seq, "No more of it.")
    assert room.count() == 2, "one of its tasks, and one of its end"
    answers = iter([204, 503, 204, 204, 204])
    receiver.answers = lambda number: next(answers)
    for _ in range(5):
        room.make_due()
        room.send()
    assert room.count() == 0
    sizes = [len(batch) for batch in batches(receiver)]
    assert sizes == [MOST, MOST, 7, 1], "what was not taken came again, and the run's end after its tasks"
    assert len(set(told(receiver))) == 2 * MOST + 8
    event = batches(receiver)[0][0]
    assert (event["data"]["state"], event["data"]["reason"]) == ("CANCELED", "No more of it.")


def test_who_does_not_ask_is_told_nothing_of_tasks(room: Room, receiver: Receiver) -> None:
    room.hook(receiver.url)
    seq, others = room.run(), room.run(user="bob")
    room.embedded.service.as_user(User("bob")).webhooks.make(receiver.url, ["task.started"])
    move(room, ids_of(seq, range(1)), S.INITIALIZING, S.RUNNING, S.COMPLETE)
    move(room, ids_of(others, range(1)), S.INITIALIZING, S.RUNNING, S.COMPLETE)
    send_all(room)
    by_user = {(event["data"]["user"], event["type"]) for batch in batches(receiver) for event in batch}
    assert by_user == {
        ("alice", "org.packhorse.run.submitted"), ("alice", "org.packhorse.run.started"),
        ("alice", "org.packhorse.run.ended"), ("bob", "org.packhorse.task.started"),
    }  # fmt: skip


def test_where_nobody_asks_a_transaction_has_one_statement_more(room: Room) -> None:
    seq = room.run(100)
    with counted_statements(room.database) as sent:
        move(room, ids_of(seq, range(100)), S.INITIALIZING, S.RUNNING, S.COMPLETE)
    assert len([text for text in sent if "tells_tasks" in text]) == 1
    assert not [text for text in sent if "INSERT INTO outbox" in text and "tasks" in text.partition("VALUES")[0]]


def test_what_is_given_up_is_listed_and_sent_again(room: Room, receiver: Receiver) -> None:
    hook = room.hook(receiver.url, "task.ended")
    seq = room.run(3)
    move(room, ids_of(seq, range(3)), S.INITIALIZING, S.RUNNING, S.COMPLETE)
    receiver.answers = lambda number: 500
    for _ in range(MOST_TRIES):
        room.make_due()
        room.send()
    assert [event["type"] for event in room.alice.webhooks.given_up(hook.id)] == ["org.packhorse.task.ended"] * 3
    receiver.answers = lambda number: 204
    room.alice.webhooks.send_again(hook.id)
    send_all(room)
    assert len(told(receiver)) == 3


@pytest.mark.parametrize("kinds", [("task",), ("task.begun",), ()])
def test_other_events_are_refused(kinds: tuple[str, ...], room: Room) -> None:
    with pytest.raises(Exception, match="is told of events that there are"):
        room.alice.webhooks.make("https://example.org/", list(kinds))
