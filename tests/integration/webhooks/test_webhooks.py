"""Webhooks against a real receiver: signed, in order, at least once, whatever it does; over either database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.accessviews import NewWebhookView
from packhorse.domain.errors import InvalidRequest, NotFound, TooLarge
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.engine.clock import SystemClock
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.ownwebhooks import MAX_WEBHOOKS
from packhorse.engine.webhooks import requests, webhookloop
from packhorse.engine.webhooks.webhookloop import MOST_TRIES, WebhookLoop
from packhorse.http.reach import Reach
from packhorse.store.schema import outbox, webhooks
from tests.fixtures.room import make_app, wait_for
from tests.fixtures.stores import end_tasks, ids_of, insert_tasks_run, move_tasks

HERE = Reach(("127.0.0.0/8",))


class Receiver:
    """Takes events: ``(headers, body)`` of each. ``answers`` says with which status, and may take its time."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, bytes]] = []
        self.asked = 0
        self.answers: Callable[[int], int] = lambda number: 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.answers(outer.asked)
                if status < 300:
                    outer.taken.append((self.headers, body))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """It is quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def told(self) -> list[str]:
        return [json.loads(body)["id"] for _, body in self.taken]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


class Room:
    """A store with a user who has webhooks, and the loop that sends."""

    def __init__(self, embedded: Embedded) -> None:
        self.embedded, self.database = embedded, embedded.database
        embedded.service.reach = HERE
        self.alice = embedded.service.as_user(User("alice"))
        self.loop = WebhookLoop(self.database, SystemClock(), threading.Event(), embedded.seal, HERE)
        self.now = 0.0

    def hook(self, url: str, *kinds: str) -> NewWebhookView:
        return self.alice.webhooks.make(url, kinds or None)

    def run(self, tasks: int = 1, **values: Any) -> int:
        with self.database.write() as connection:
            return insert_tasks_run(connection, tasks, **values)

    def send(self) -> None:
        """One look, and what follows from it."""
        self.now += 10
        self.loop.tick(self.now)
        for one in list(self.loop._busy.values()):
            one.result(60)

    def make_due(self) -> None:
        """The time of the next try has come."""
        with self.database.write() as connection:
            connection.execute(sa.update(webhooks).values(next_at=0.0))

    def count(self) -> int:
        with self.database.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one())


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Room]:
    room = Room(embedded)
    yield room
    room.loop.end()
    room.loop.leave()


def ended(room: Room, seq: int, how: TaskState = TaskState.COMPLETE, tasks: int = 1) -> None:
    with room.database.write() as connection:
        end_tasks(connection, ids_of(seq, range(tasks)), how)


def test_a_run_is_told_from_its_submission_to_its_end(room: Room, receiver: Receiver, tmp_path: Path) -> None:
    hook = room.hook(receiver.url)
    room.embedded.service.as_user(User("bob", admin=True)).submit(
        AppRun(app=make_app(tmp_path / "bob", command="[/bin/true]"), over=[{"i": 1}])
    )
    app = make_app(tmp_path / "app", command="[/bin/true]")
    run = room.embedded.service.as_user(User("alice", admin=True)).submit(AppRun(app=app, over=[{"i": 1}, {"i": 2}]))
    with room.embedded.run_engine():
        wait_for(lambda: len(receiver.taken) == 3, 60, "three events")
    assert receiver.told() == [f"{run.id}.{kind}" for kind in ("submitted", "started", "ended")], "and none of bob's"
    for headers, body in receiver.taken:
        assert headers["Content-Type"].startswith("application/cloudevents+json")
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        made = hmac.new(base64.b64decode(hook.secret.removeprefix("whsec_")), text, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(made).decode()}"
        assert abs(time.time() - int(headers["webhook-timestamp"])) < 120
    event = json.loads(receiver.taken[-1][1])
    assert (event["specversion"], event["type"], event["subject"]) == ("1.0", "org.packhorse.run.ended", run.id)
    assert (event["data"]["state"], event["data"]["counts"]) == ("COMPLETE", {"COMPLETE": 2})


def test_each_run_is_told_in_order_and_once_where_all_goes_well(room: Room, receiver: Receiver) -> None:
    room.hook(receiver.url)
    seqs = [room.run(2) for _ in range(20)]
    with room.database.write() as connection:
        move_tasks(connection, [(task, state) for seq in seqs for task in ids_of(seq, range(2)) for state in
                                (TaskState.INITIALIZING, TaskState.RUNNING)])  # fmt: skip
    for seq in seqs:
        ended_states = TaskState.COMPLETE if seq % 2 else TaskState.EXECUTOR_ERROR
        with room.database.write() as connection:
            move_tasks(connection, [(task, ended_states) for task in ids_of(seq, range(2))])
    while room.count():
        room.send()
    by_run: dict[str, list[str]] = {}
    for one in receiver.told():
        run_id, _, kind = one.partition(".")
        by_run.setdefault(run_id, []).append(kind)
    assert len(by_run) == 20 and all(kinds == ["submitted", "started", "ended"] for kinds in by_run.values())


def test_a_receiver_that_fails_is_tried_again_and_misses_nothing(room: Room, receiver: Receiver) -> None:
    room.hook(receiver.url, "ended")
    seqs = [room.run() for _ in range(3)]
    for seq in seqs:
        ended(room, seq)
    receiver.answers = lambda number: (503, 204, 404, 302, 204, 204)[min(number, 6) - 1]
    room.send()
    [view] = room.alice.webhooks.views()
    assert (view.waiting, view.error) == (3, "it answers 503") and view.next_at is not None
    assert view.next_at > time.time() + 3
    room.send()
    assert receiver.asked == 1, "it is left alone for a while"
    for _ in range(4):
        room.make_due()
        room.send()
    told = receiver.told()
    assert len(told) == 3 and sorted(set(told)) == sorted(told)
    [view] = room.alice.webhooks.views()
    assert (view.waiting, view.error, view.next_at) == (0, None, None)


def test_what_is_never_taken_is_given_up_and_can_be_sent_again(room: Room, receiver: Receiver) -> None:
    hook = room.hook(receiver.url, "ended")
    for _ in range(2):
        ended(room, room.run())
    receiver.answers = lambda number: 500
    for _ in range(MOST_TRIES):
        room.make_due()
        room.send()
    [view] = room.alice.webhooks.views()
    assert (view.waiting, view.given_up) == (1, 1)
    [event] = room.alice.webhooks.given_up(hook.id)
    assert event["type"] == "org.packhorse.run.ended"
    receiver.answers = lambda number: 204
    room.alice.webhooks.send_again(hook.id)
    room.send()
    assert len(receiver.taken) == 2 and room.count() == 0


def test_one_that_never_answers_holds_up_no_other(
    room: Room, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhookloop, "ANSWER_S", 2.0)
    silent = Receiver()
    silent.answers = lambda number: time.sleep(30) or 204  # type: ignore[func-returns-value]
    room.hook(silent.url)
    room.hook(receiver.url)
    room.run()
    room.now += 10
    room.loop.tick(room.now)
    wait_for(lambda: len(receiver.taken) == 1, 20, "the other's event")
    for one in list(room.loop._busy.values()):
        one.result(60)
    errors = {view.url: view.error for view in room.alice.webhooks.views()}
    assert (errors[receiver.url] is None and "took longer" in str(errors[silent.url])) or errors[silent.url]
    silent.stop()


def test_an_event_that_was_taken_when_the_engine_died_is_sent_again_under_its_id(
    room: Room, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.hook(receiver.url, "submitted")
    room.run()

    def die(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(requests, "events_arrived", die)
        room.send()
    room.send()
    first, second = receiver.told()
    assert first == second and room.count() == 0


def test_what_is_rolled_back_is_not_told(room: Room) -> None:
    room.hook("http://127.0.0.1:9/")
    with pytest.raises(RuntimeError), room.database.write() as connection:
        insert_tasks_run(connection, 1)
        raise RuntimeError
    assert room.count() == 0
    room.run(user="bob")
    assert room.count() == 0


def test_who_has_no_webhook_costs_no_row(room: Room) -> None:
    seq = room.run()
    ended(room, seq)
    assert room.count() == 0


# --- who may have one, and where it may lead ------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/", "file:///etc/passwd", "example.org", "http://", "https://a:b@example.org/", "http://[::1",
     "https://example.org/" + "x" * 2000, "http://10.0.0.1/", "http://169.254.169.254/latest", "http://[fe80::1]/",
     "http://[::ffff:10.0.0.1]/"],
)  # fmt: skip
def test_a_url_that_leads_nowhere_or_inside_is_refused(room: Room, url: str) -> None:
    with pytest.raises(InvalidRequest):
        room.hook(url)


def test_a_name_that_leads_inside_is_not_followed(
    room: Room, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the address that is connected to: a name may have another one when it is used."""
    room.loop = WebhookLoop(room.database, SystemClock(), threading.Event(), room.embedded.seal, Reach())
    room.hook(receiver.url.replace("127.0.0.1", "localhost"))
    room.run()
    room.send()
    [view] = room.alice.webhooks.views()
    assert receiver.asked == 0 and "own network" in str(view.error)


def test_webhooks_are_their_users_own(room: Room) -> None:
    hook = room.hook("https://example.org/")
    bob, root = (room.embedded.service.as_user(user) for user in (User("bob"), User("root", admin=True)))
    assert bob.webhooks.views() == []
    for ask in (bob.webhooks.remove, bob.webhooks.given_up, bob.webhooks.send_again):
        with pytest.raises(NotFound, match="no webhook"):
            ask(hook.id)
    assert [view.id for view in root.webhooks.views()] == [hook.id]
    assert hook.secret not in str(root.webhooks.views())
    with room.database.read() as connection:
        [sealed] = connection.execute(sa.select(webhooks.c.secret)).scalars().all()
    assert hook.secret.encode() not in bytes(sealed)
    root.webhooks.remove(hook.id)
    assert room.alice.webhooks.views() == []


def test_there_are_not_too_many(room: Room) -> None:
    for number in range(MAX_WEBHOOKS):
        room.hook(f"https://example.org/{number}")
    with pytest.raises(TooLarge):
        room.hook("https://example.org/one-more")
