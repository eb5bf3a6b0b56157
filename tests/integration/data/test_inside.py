"""A server's users and the server's own network, through the engine: what is seen at once is refused, and what is found
out later ends the task with the reason. ``packhorse run`` on one's own goes anywhere.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.config import DataConfig
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.submitted import task_run
from packhorse.domain.users import User
from packhorse.engine.embedded import Embedded
from tests.fixtures.s3server import S3Server
from tests.fixtures.webserver import WebServer

from .rooms import end_of, first_task, running

ROOT = User("root", admin=True)


def task(url: str) -> Any:
    return task_run({"inputs": [{"path": "x", "url": url}], "executors": [{"command": ["cat", "x"]}]})


def test_addresses_inside_are_refused_at_once_for_all_users_of_a_server(home: Path) -> None:
    data = DataConfig(urls=["http://127.0.0.1", "http://169.254.169.254"])
    room = Embedded(home, serves=True, data=data)
    for url in ("http://127.0.0.1/x", "http://169.254.169.254/latest/meta-data", "http://localhost:8000/x"):
        with pytest.raises(InvalidRequest) as refused:
            room.service.as_user(ROOT).submit(task(url))
        assert "own network" in str(refused.value)
    room.close()


def test_a_redirect_inside_ends_the_task_with_the_reason(web: WebServer, home: Path) -> None:
    def sends_on(request: BaseHTTPRequestHandler) -> bool:
        if request.path != "/x":
            return False
        request.send_response(302)
        request.send_header("Location", f"http://127.0.0.2:{web.port}/secret")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    web.files = {"/secret": b"secret", "/open": b"open\n"}
    web.fault = sends_on
    with running(home, serves=True, private_networks=["127.0.0.1/32"]) as room:
        sent_on, plain = (room.service.as_user(ROOT).submit(task(web.url(path))) for path in ("/x", "/open"))
        assert end_of(room, sent_on).counts == {"SYSTEM_ERROR": 1}
        assert "own network" in str(first_task(room, sent_on).reason)
        assert end_of(room, plain).counts == {"COMPLETE": 1}, "what is opened is fetched"
    assert not web.asked["GET /secret"] and not web.asked["HEAD /secret"]


def test_servers_of_the_configuration_are_reached(s3: S3Server, home: Path) -> None:
    bucket = s3.bucket("inside")
    s3.client.put_object(Bucket=bucket, Key="x", Body=b"x\n")
    with running(home, serves=True, data=s3.config) as room:
        run = room.service.as_user(ROOT).submit(task(f"s3://{bucket}/x"))
        assert end_of(room, run).counts == {"COMPLETE": 1}, first_task(room, run).reason


def test_one_s_own_packhorse_goes_anywhere(web: WebServer, home: Path) -> None:
    web.files = {"/x": b"x\n"}
    with running(home) as room:
        assert end_of(room, room.mine.submit(task(web.url("/x")))).counts == {"COMPLETE": 1}
