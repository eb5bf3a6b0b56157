"""What each user may take: 429 with Retry-After, 413 for a body, nothing for admins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from packhorse.domain.accessconfig import LimitsConfig, UserLimits
from packhorse.domain.errors import TooLarge, TooMany
from packhorse.domain.users import User
from packhorse.engine.requests import crating
from packhorse.engine.requests.limits import Limits
from packhorse.store.allocations import insert_allocation
from packhorse.store.shares import Share, add_shares
from tests.unit.api.test_api import Server

ALICE, ROOT = User("alice"), User("root", admin=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.room.close()


def limited(server: Server, **config: object) -> list[float]:
    """Puts limits on a server's users; returns the clock that they go by."""
    clock = [0.0]
    limits = Limits(server.room.database, LimitsConfig.model_validate(config), lambda: clock[0])
    server.room.service.limits = limits
    return clock


def test_submissions_a_second(server: Server) -> None:
    clock = limited(server, submissions_per_s=2)
    for _ in range(2):
        server.submit()
    refused = server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}]})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["code"] == "too_many"
    assert server.ask("POST", "/runs:batch", json=[]).status_code == 429
    server.submit("bob")
    server.submit("root")
    clock[0] += 0.5
    server.submit()
    assert server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}]}).status_code == 429


def test_tasks_in_flight(server: Server) -> None:
    clock = limited(server, tasks_in_flight=5)
    run = server.submit()
    server.submit()
    refused = server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}, {"i": 2}]})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert "4 have not ended, and these are 2 more" in refused.text
    assert server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}]}).status_code == 201
    too_many = server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}] * 6})
    assert (too_many.status_code, "more than you may have in flight" in too_many.text) == (413, True)
    server.submit("root", over=[{"i": 1}] * 6)
    server.ask("POST", f"/runs/{run}/cancel")
    clock[0] += 1.1
    server.submit()
    answers = server.ask("POST", "/runs:batch", json=[{"app": "t", "over": [{"i": 1}]}] * 3).json()
    assert [one["error"]["code"] for one in answers if one["error"]] == ["too_many"] * 3


def test_bodies(server: Server) -> None:
    limited(server, body_mb=0.001, users={"bob": {"body_mb": 1}})
    body = {"app": "t", "over": [{"i": 1}] * 200}
    assert server.ask("POST", "/runs", json=body).status_code == 413
    table = {"content": b"i\n" + b"1\n" * 1000, "headers": {"Content-Type": "text/csv"}}
    assert server.ask("POST", "/runs/table?app=t", **table).status_code == 413
    for user in ("bob", "root"):
        assert server.ask("POST", "/runs", user, json=body).status_code == 201


def test_stored_outputs(server: Server) -> None:
    clock = limited(server, stored_gb=0.001)
    run = server.submit()
    share = Share()
    kept = [{"path": "a", "size": 700_000}, {"path": "b", "size": 400_000}, {"path": "odd", "size": "x"}]
    share.add({"attempt": 1, "failure": None, "files": json.dumps(kept)}, 1.0, 1.0)
    with server.room.database.write() as connection:
        seq = connection.exec_driver_sql(f"SELECT seq FROM runs WHERE id = '{run}'").scalar_one()
        allocation = insert_allocation(connection, "a-1", "local", '{"cores": 2, "memory_mb": null}', 0.0)
        add_shares(connection, allocation, {seq: share})
    clock[0] += 11
    refused = server.ask("POST", "/runs", json={"app": "t", "over": [{"i": 1}]})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3600")
    assert "You may keep 0.001 GB of outputs here, and have 0.0011 GB." in refused.text
    server.submit("bob")
    server.submit("root")


def test_crates_that_are_made_at_once(server: Server) -> None:
    run = server.submit()
    with ExitStack() as held:
        for _ in range(crating.AT_ONCE):
            held.enter_context(crating._places)
        refused = server.ask("GET", f"/runs/{run}/crate")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    for _ in range(crating.AT_ONCE + 1):
        assert server.ask("GET", f"/runs/{run}/crate").status_code == 200, "each gives its place back"


def test_limits_of_one_user_stand_in_for_those_of_all() -> None:
    config = LimitsConfig(tasks_in_flight=5, submissions_per_s=1, users={"alice": UserLimits(tasks_in_flight=50)})
    assert (config.of("alice").tasks_in_flight, config.of("alice").submissions_per_s) == (50, 1)
    assert config.of("bob").tasks_in_flight == 5


def test_without_limits_nothing_is_asked_of_the_store(server: Server) -> None:
    limits = Limits(server.room.database, None)
    server.room.database.close()
    limits.submission(ALICE)
    limits.tasks(ALICE, 10**9)
    limits = Limits(server.room.database, LimitsConfig(tasks_in_flight=1, submissions_per_s=0.1))
    for _ in range(5):
        limits.submission(ROOT)
        limits.tasks(ROOT, 100)


def test_a_slow_rate_gives_one_at_once_and_then_waits(server: Server) -> None:
    clock = [0.0]
    limits = Limits(server.room.database, LimitsConfig(submissions_per_s=0.1), lambda: clock[0])
    limits.submission(ALICE)
    with pytest.raises(TooMany) as refusal:
        limits.submission(ALICE)
    assert refusal.value.after_s == pytest.approx(10)
    clock[0] += 10
    limits.submission(ALICE)
    with pytest.raises(TooLarge):
        Limits(server.room.database, LimitsConfig(tasks_in_flight=1)).tasks(ALICE, 2)
